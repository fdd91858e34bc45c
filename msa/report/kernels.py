"""Kernels for the pages of the book that start with their imports done.

Every page runs in a kernel of its own, and a short page spent most of its time on
importing torch, pandas and matplotlib. Here one process imports them once and computes
nothing; whenever a page asks for a kernel, it forks, and the copy becomes the kernel.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import socketserver
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Any, ClassVar
from uuid import uuid4

from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from traitlets import CaselessStrEnum

IMPORTS = ("transformers", "msa.report.*", "msa.audit.*")
"""What pages import, and all that stands below it."""

_LAUNCHER = "ipykernel_launcher"
_INLINE = "module://matplotlib_inline.backend_inline"  # as a kernel would choose it


class SocketKernelManager(AsyncKernelManager):
    """Starts kernels that listen on files.

    Kernels that start together can draw the same port, and then one of them dies.
    """

    transport = CaselessStrEnum(["tcp", "ipc"], default_value="ipc")

    def _ip_default(self) -> str:
        return f"{gettempdir()}/msa-{uuid4().hex[:12]}"


class ForkedProvisioner(LocalProvisioner):
    """Asks the process of :func:`start` for a kernel in the place of starting one."""

    address: ClassVar[Path | None] = None
    """Socket of that process."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Start a kernel, by an ordinary command if no fork can be had.

        Parameters
        ----------
        cmd : list of str
            The command of the kernel specification.
        **kwargs
            ``cwd`` and ``env`` of the kernel, and what else ``Popen`` takes.

        Returns
        -------
        dict
            Ports and key, as for every kernel.
        """
        if self.address is None or _LAUNCHER not in cmd:
            return await super().launch_kernel(cmd, **kwargs)
        argv = cmd[cmd.index(_LAUNCHER) + 1 :]
        folder = str(kwargs.get("cwd") or Path.cwd())
        try:
            kernel = ForkedKernel(self.address, argv, folder, kwargs["env"])
        except OSError:  # a slower start is better than no book
            return await super().launch_kernel(cmd, **kwargs)
        self.process = kernel
        self.pid = self.pgid = kernel.pid
        self.cwd = folder
        return self.connection_info


class ForkedKernel:
    """A kernel that another process forked, as far as its manager looks at one.

    Parameters
    ----------
    address : Path
        Socket of the process that forks.
    argv : list of str
        Arguments of the kernel.
    folder : str
        Its working directory.
    env : dict
        Its whole environment.

    Raises
    ------
    OSError
        If nobody answers there.
    """

    stdin = stdout = stderr = None

    def __init__(
        self, address: Path, argv: list[str], folder: str, env: dict[str, str]
    ) -> None:
        self.returncode: int | None = None
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(str(address))
        asked = {"argv": argv, "cwd": folder, "env": env}
        self._link.sendall(json.dumps(asked).encode() + b"\n")
        answer = self._link.makefile("rb").readline()
        if not answer:
            raise ConnectionError(f"no kernel was forked by the process at {address}")
        self.pid = int(answer)

    def poll(self) -> int | None:
        """Return None while the kernel runs, then 0: its end closes the connection."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the kernel and return 0.

        Parameters
        ----------
        timeout : float, optional
            Seconds; without end when left out.

        Raises
        ------
        TimeoutExpired
            If the kernel still runs then, as ``Popen`` does.
        """
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(_LAUNCHER, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel, unless it has ended.

        Parameters
        ----------
        number : int
            As :mod:`signal` has it.
        """
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the kernel to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the kernel."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._link], [], [], timeout)[0]:
            self._link.close()
            self.returncode = 0
        return self.returncode


def start(names: Sequence[str] = IMPORTS) -> subprocess.Popen[bytes]:
    """Start the process that forks, and let every kernel of this process come from it.

    It ends by itself when this process does.

    Parameters
    ----------
    names : sequence of str
        Modules that it imports; ``"package.*"`` stands for all that are in a package.

    Returns
    -------
    Popen
        That process. It answers as soon as its imports are done; kernels wait for it.
    """
    address = Path(mkdtemp(prefix="msa-")) / "kernels"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()  # from here on who asks waits, and is not refused
        descriptor, parent = listener.fileno(), os.getpid()
        numbers = str(descriptor), str(parent)
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, address, *numbers, *names],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "MPLBACKEND": os.environ.get("MPLBACKEND", _INLINE)},
        )
    ForkedProvisioner.address = address
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["msa-forked"] = EntryPoint(
        "msa-forked", f"{__name__}:ForkedProvisioner", factory.GROUP_NAME
    )
    factory.default_provisioner_name = "msa-forked"
    return process


# --- the process that forks -----------------------------------------------------------


class _Become(socketserver.StreamRequestHandler):
    """Runs in the copy, which is a kernel from here to its end."""

    def handle(self) -> None:
        from ipykernel.kernelapp import IPKernelApp  # here, see _import

        asked = json.loads(self.rfile.readline())
        self.server.socket.close()
        os.setsid()  # interrupts go to the whole group of a kernel
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        self.wfile.write(f"{os.getpid()}\n".encode())
        parent = f"--IPKernelApp.parent_handle={os.getppid()}"
        IPKernelApp.launch_instance([*asked["argv"], parent])


class _Forker(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    max_children = 1000  # of kernels there are as many as pages run at a time
    block_on_close = False  # kernels end when they see that this process has

    def __init__(self, address: str, descriptor: int, parent: int) -> None:
        super().__init__(address, _Become, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=descriptor)
        self._parent = parent

    def service_actions(self) -> None:
        super().service_actions()
        if os.getppid() != self._parent:
            raise SystemExit


def _import(names: Iterable[str]) -> None:
    for name in names:
        module = importlib.import_module(name.removesuffix(".*"))
        parts = pkgutil.iter_modules(module.__path__) if name.endswith(".*") else ()
        for part in parts:
            if part.name != "site":  # that is Sphinx's side, not a page's
                importlib.import_module(f"{module.__name__}.{part.name}")
    import ipykernel.kernelapp  # noqa: F401 - last: progress bars look for widgets


def main() -> None:
    """Import, then fork a kernel for everyone who asks."""
    address, descriptor, parent, *names = sys.argv[1:]
    try:
        _import(names)
        with _Forker(address, int(descriptor), int(parent)) as forker:
            forker.serve_forever()
    finally:
        Path(address).unlink(missing_ok=True)
        Path(address).parent.rmdir()


if __name__ == "__main__":
    main()
