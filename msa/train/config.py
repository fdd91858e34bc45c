"""The configuration of one run: frozen, validated, named by its content."""

from __future__ import annotations

import hashlib
import json
import shlex
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from msa.data.registry import UnknownData, default_view, source
from msa.data.text import default_encoder
from msa.models.registry import ModelEntry, model_entry

PROTOCOL = 1
"""Raised when a change to the code changes what a configuration means."""


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
    seed : int
        Initialisation, data order and dropout.
    mask_seed : int or None
        None: the protocol's fixed masks. Otherwise masks are drawn anew from it.
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
    seed: int = 1111
    mask_seed: int | None = None
    max_epochs: int = 100
    hyper: dict[str, Any]
    protocol: int = PROTOCOL

    @field_validator("missing_rate")
    @classmethod
    def _rate(cls, rate: float) -> float:
        if not 0.0 <= rate <= 1.0:
            raise ValueError("must lie between 0 and 1")
        return round(float(rate), 4)

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
            resolved = entry.resolve(data.dataset, variant, hyper)
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
            raise ConfigError(
                f"{name}: {first['msg']} (got {first['input']!r})"
            ) from error
        except (ValueError, UnknownData) as error:
            raise ConfigError(str(error)) from error

    @property
    def entry(self) -> ModelEntry:
        """The model's registry entry."""
        return model_entry(self.model)

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
        usual = self.entry.resolve(self.dataset, self.variant).model_dump(mode="json")
        for name, value in self.hyper.items():
            if value != usual[name]:
                parts += ["--set", f"{name}={json.dumps(value)}"]
        return shlex.join(parts)


def switched_on(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is None or False: a switch that is off changes nothing."""
    return {k: v for k, v in values.items() if v is not None and v is not False}
