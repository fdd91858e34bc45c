"""The configuration of one run: frozen, validated, named by its content."""

from __future__ import annotations

import hashlib
import json
import shlex
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from msa.data.missing import PROTOCOL_PATTERN, check_pattern
from msa.data.numbers import RATES
from msa.data.registry import UnknownData, default_view, source
from msa.data.text import default_encoder
from msa.models.registry import ModelEntry, model_entry

PROTOCOL = 1
"""Raised when a change to the code changes what a configuration means."""

MIXED_RATES = RATES
"""Missing rates of the training samples where ``train_rates`` is ``"mixed"``."""

MIXED_VALID_RATES = (0.0, 0.5, 1.0)
"""Missing rates that validation then averages over."""

BEYOND = (
    *("missing_pattern", "train_rates", "evaluate_rates", "evaluate_patterns"),
    *("selection", "data_order_seed", "reconstruction_error", "text_scale"),
    "spare_prompt",
)
"""Fields for questions that the papers do not ask; None in a run of the protocol."""


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What NumPy's and PyTorch's generators both take."""


class ConfigError(ValueError):
    """A run configuration that cannot be run."""


class RunConfig(BaseModel):
    """Everything that decides a run's result, and nothing else.

    Build one with :meth:`resolve`, which fills in the defaults and checks the names.

    Attributes
    ----------
    dataset, view : str
        Data set and feature view (``msa.data.registry``).
    model, variant : str
        System and its variant (``msa.models.registry``).
    encoder : str
        Text encoder (``msa.data.text``) or the path of a local BERT folder.
    encoder_mode : {"frozen", "finetune"}
    missing_rate : float
        Share of steps removed, 0 to 1, the same in train, valid and test.
    missing_pattern : str or None
        What is missing at that rate (``msa.data.missing.PATTERNS``), the same in train,
        valid and test; None is the protocol.
    train_rates : {"mixed"} or None
        ``"mixed"``: one model for all rates. Each training sample has a missing rate of
        its own for the whole run, drawn from ``MIXED_RATES`` with the run's seed;
        validation takes every sample at each of ``MIXED_VALID_RATES``. The test split
        is complete (``missing_rate`` 0); ``evaluate_rates`` tests at other rates.
    evaluate_rates : tuple of float or None
        Missing rates at which the chosen checkpoint is tested besides its own.
    evaluate_patterns : tuple of str or None
        Missing patterns with which it is tested at each of these rates (at its own rate
        where none are given); a whole modality is missing once, at rate 1.
    selection : {"all"} or None
        ``"all"``: the scores on valid and test are recorded after every epoch, so that
        other rules to choose a checkpoint can be compared. The checkpoint in use is the
        validation-best one all the same.
    seed : int
        Initialisation, data order and dropout; as every seed from 0 to 2^32 - 1.
    data_order_seed : int or None
        Order of the training samples; None: ``seed`` decides it.
    mask_seed : int or None
        None: the protocol's fixed masks. Otherwise masks are drawn anew from it.
    reconstruction_error : bool or None
        Whether to measure how well the model rebuilds the missing steps of the test
        split.
    text_scale : {"train"} or None
        ``"train"``: the frozen encoder's features are centred and brought to unit
        spread, as audio and vision are, with the statistics of the complete training
        split (``msa.data.text.TextScale``). None: as the encoder gives them.
    spare_prompt : bool or None
        Whether the prompt that every text begins with never goes missing (CH-SIMS,
        clip-context: ``ledger.toml``). None: it is treated as speech.
    max_epochs : int
        Bound on training; early stopping normally ends it sooner.
    hyper : dict
        Every hyper-parameter, resolved.
    protocol : int
        ``PROTOCOL`` of the code that made the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dataset: str
    view: str
    model: str
    variant: str
    encoder: str
    encoder_mode: Literal["frozen", "finetune"] = "frozen"
    missing_rate: float = 0.0
    missing_pattern: str | None = None
    train_rates: Literal["mixed"] | None = None
    evaluate_rates: tuple[float, ...] | None = None
    evaluate_patterns: tuple[str, ...] | None = None
    selection: Literal["all"] | None = None
    seed: Seed = 1111
    data_order_seed: Seed | None = None
    mask_seed: Seed | None = None
    reconstruction_error: bool | None = None
    text_scale: Literal["train"] | None = None
    spare_prompt: bool | None = None
    max_epochs: int = 100
    hyper: dict[str, Any]
    protocol: int = PROTOCOL

    @field_validator("missing_rate")
    @classmethod
    def _rate(cls, rate: float) -> float:
        if not 0.0 <= rate <= 1.0:
            raise ValueError("must lie between 0 and 1")
        return round(float(rate), 4)

    @field_validator("missing_pattern")
    @classmethod
    def _pattern(cls, pattern: str | None) -> str | None:
        return None if pattern == PROTOCOL_PATTERN else pattern  # one name, one run id

    @field_validator("evaluate_rates", "evaluate_patterns", mode="before")
    @classmethod
    def _list(cls, values: Any) -> Any:
        return tuple(values) if isinstance(values, list) else values  # as JSON has it

    @field_validator("evaluate_rates")
    @classmethod
    def _rates(cls, rates: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return rates and tuple(sorted({cls._rate(rate) for rate in rates}))

    @field_validator("evaluate_patterns")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return patterns and tuple(sorted(set(patterns)))

    @field_validator("reconstruction_error", "spare_prompt")
    @classmethod
    def _switch(cls, on: bool | None) -> bool | None:
        return on or None

    @model_validator(mode="after")
    def _makes_sense(self) -> RunConfig:
        if self.evaluate_rates == () or self.evaluate_patterns == ():
            raise ValueError("an empty list of rates or patterns evaluates nothing")
        check_pattern(self.pattern, 1.0 if self.train_rates else self.missing_rate)
        if self.train_rates:
            self._check_mixed()
        elif self.missing_pattern and self.missing_rate == 0.0:
            raise ValueError(
                f"missing_pattern {self.missing_pattern!r} at missing_rate 0 is the "
                "complete data: give a rate above 0, or no pattern"
            )
        for pattern in self.evaluate_patterns or ():
            check_pattern(pattern, 1.0)
        if self.evaluate_rates and not self.evaluations:
            raise ValueError(
                f"missing_pattern {self.pattern!r} has no other rates to evaluate: "
                "name evaluate_patterns that have, such as 'protocol'"
            )
        if self.evaluate_patterns and not any(rate for rate, _ in self.evaluations):
            raise ValueError(
                "evaluate_patterns with nothing missing: the model's own missing_rate "
                "is 0, so name evaluate_rates"
            )
        if self.reconstruction_error:
            self._check_reconstruction()
        if self.text_scale and self.encoder_mode != "frozen":
            raise ValueError(
                "text_scale needs encoder_mode 'frozen': an encoder in training has no "
                "fixed features to measure"
            )
        if self.encoder_mode == "finetune" and not self.entry.can_fine_tune:
            raise ValueError(
                f"{self.model} is solved in closed form or reads no text: it cannot "
                "fine-tune a text encoder, use encoder_mode 'frozen'"
            )
        return self

    def _check_mixed(self) -> None:
        if self.missing_rate != 0.0:
            raise ValueError(
                "train_rates 'mixed' has no missing_rate of its own: leave it at 0 and "
                "test at others with evaluate_rates"
            )
        if _whole(self.pattern):
            raise ValueError(
                f"missing_pattern {self.pattern!r} has one rate only, so train_rates "
                "cannot mix it"
            )

    def _check_reconstruction(self) -> None:
        rates = [self.missing_rate, *(rate for rate, _ in self.evaluations)]
        if not any(rates):
            raise ValueError(
                "reconstruction_error needs missing steps: a missing_rate or an "
                "evaluate_rates above 0"
            )
        if self.encoder_mode != "frozen":
            raise ValueError(
                "reconstruction_error needs encoder_mode 'frozen': an encoder in "
                "training moves the features that are to be rebuilt"
            )

    @field_validator("max_epochs")
    @classmethod
    def _epochs(cls, epochs: int) -> int:
        if epochs < 1:
            raise ValueError("must be at least 1")
        return epochs

    @classmethod
    def resolve(
        cls,
        *,
        dataset: str,
        model: str,
        view: str | None = None,
        variant: str | None = None,
        encoder: str | None = None,
        hyper: dict[str, Any] | None = None,
        **fields: Any,
    ) -> RunConfig:
        """Build a configuration, filling in what is not given.

        Parameters
        ----------
        dataset, model : str
        view, variant, encoder : str, optional
            The data set's and the model's own defaults.
        hyper : dict, optional
            Hyper-parameters that differ from the data set's and the variant's.
        **fields
            Any other field of the configuration.

        Raises
        ------
        ConfigError
            For an unknown name or a value of the wrong type, naming it.
        """
        try:
            data = source(dataset, view or default_view(dataset))
            entry = model_entry(model)
            variant = variant or entry.default_variant
            tuned = data.view == default_view(data.dataset)
            resolved = entry.resolve(data.dataset, variant, hyper, tuned=tuned)
            return cls(
                dataset=data.dataset,
                view=data.view,
                model=entry.name,
                variant=variant,
                encoder=encoder or default_encoder(data.language),
                hyper=resolved.model_dump(mode="json"),
                **fields,
            )
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            # Without a name it is about several fields, which the message tells.
            told = f"{name}: {first['msg']} (got {first['input']!r})"
            raise ConfigError(
                told if name else first["msg"].removeprefix("Value error, ")
            ) from error
        except (ValueError, UnknownData) as error:
            raise ConfigError(str(error)) from error

    @property
    def entry(self) -> ModelEntry:
        """The model's registry entry."""
        return model_entry(self.model)

    @property
    def pattern(self) -> str:
        """What is missing, by its name in ``msa.data.missing.PATTERNS``."""
        return self.missing_pattern or PROTOCOL_PATTERN

    @property
    def order_seed(self) -> int:
        """Seed of the order of the training samples."""
        return self.seed if self.data_order_seed is None else self.data_order_seed

    @property
    def evaluations(self) -> list[tuple[float, str]]:
        """Missing rate and pattern of every further test, each once.

        At ``evaluate_rates`` with the run's own pattern, unless that is a whole
        modality and has no other rate; then with each of ``evaluate_patterns``.
        """
        rates = self.evaluate_rates or ()
        own = [(rate, self.pattern) for rate in rates if not _whole(self.pattern)]
        others = [
            (rate, pattern)
            for pattern in self.evaluate_patterns or ()
            for rate in ((1.0,) if _whole(pattern) else rates or (self.missing_rate,))
        ]
        return list(dict.fromkeys([*own, *others]))

    @property
    def beyond(self) -> dict[str, Any]:
        """What is asked beyond the papers' protocol: fields of ``BEYOND`` in use."""
        values = {name: getattr(self, name) for name in BEYOND}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def unusual(self) -> dict[str, Any]:
        """Hyper-parameters that are not the variant's own on this data set."""
        tuned = self.view == default_view(self.dataset)
        usual = self.entry.resolve(self.dataset, self.variant, tuned=tuned)
        # A stored run may be older than a switch, which was then off.
        own = self.entry.hyper(**self.hyper).model_dump(mode="json")
        there = usual.model_dump(mode="json")
        return {k: v for k, v in own.items() if v != there[k]}

    @property
    def run_id(self) -> str:
        """First 16 hex digits of the SHA-256 of the configuration.

        Switches that are off (False or None) are left out, so that a model may gain a
        switch without renaming the runs made before it existed.
        """
        content = self.model_dump()
        content["hyper"] = switched_on(content["hyper"])
        text = json.dumps(switched_on(content), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether a training that is cut off goes on: not one scored every epoch."""
        return not self.selection

    def command(self) -> str:
        """Return the shell command that remakes this run."""
        parts = [
            *("python", "-m", "msa", "train"),
            *("--dataset", self.dataset, "--view", self.view),
            *("--model", self.model, "--variant", self.variant),
            *("--encoder", self.encoder, "--encoder-mode", self.encoder_mode),
            *("--missing-rate", f"{self.missing_rate:g}", "--seed", str(self.seed)),
            *("--max-epochs", str(self.max_epochs)),
        ]
        if self.mask_seed is not None:
            parts += ["--mask-seed", str(self.mask_seed)]
        for name, value in self.beyond.items():
            parts += _flag(name, value)
        for name, value in self.unusual.items():
            parts += ["--set", f"{name}={json.dumps(value)}"]
        return shlex.join(parts)


def _whole(pattern: str) -> bool:
    """Tell whether a pattern removes a whole modality, which has one rate only."""
    return pattern.startswith("no-")


def _flag(name: str, value: Any) -> list[str]:
    """Write a field as the command line takes it."""
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        return [flag]
    values = value if isinstance(value, tuple) else (value,)
    return [flag, *(f"{v:g}" if isinstance(v, float) else str(v) for v in values)]


def switched_on(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is None or False: a switch that is off changes nothing."""
    return {k: v for k, v in values.items() if v is not None and v is not False}
