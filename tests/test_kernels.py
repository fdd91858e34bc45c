"""Kernels forked from a process that has done their imports."""

import importlib.util
import os
import subprocess
import sys
import time
from shutil import rmtree

import nbclient
import nbformat
import pytest
from jupyter_client.provisioning import KernelProvisionerFactory
from nbclient.exceptions import DeadKernelError

from msa.report import kernels

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")


@pytest.fixture(scope="module")
def forker():
    process = kernels.start(["msa.models.*", "matplotlib.pyplot"])
    folder = kernels.ForkedProvisioner.address.parent
    yield process
    kernels.ForkedProvisioner.address = None
    KernelProvisionerFactory.clear_instance()
    process.terminate()
    process.wait()
    rmtree(folder)  # it removes its own where its parent ends before it


def run(*cells: str, **options: object) -> list[str]:
    """Run cells as the book runs a page; what they print."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
    )
    nbclient.execute(
        notebook, kernel_manager_class=kernels.SocketKernelManager, **options
    )
    return [o.text.strip() for c in notebook.cells for o in c.outputs if "text" in o]


def test_a_page_finds_its_imports_done(forker):
    parent, models = run(
        "import os, sys; print(os.getppid())",
        "print({'torch', 'msa.models.tfn'} <= set(sys.modules))",
    )
    assert int(parent) == forker.pid
    assert models == "True"


def test_what_is_imported_for_the_book_exists():
    for name in kernels.IMPORTS:
        assert importlib.util.find_spec(name.removesuffix(".*"))


def test_a_page_sees_nothing_of_another(forker, tmp_path):
    run("import pandas; pandas.of_a_page = of_a_page = 1")
    found, folder = run(
        "import pandas; print(hasattr(pandas, 'of_a_page'), 'of_a_page' in dir())",
        "import os; print(os.getcwd())",
        cwd=str(tmp_path),
    )
    assert found == "False False"
    assert folder == str(tmp_path)


def test_a_page_has_the_environment_of_the_build(forker, monkeypatch):
    monkeypatch.setenv("MSA_OF_THE_BUILD", "here")
    assert run("import os; print(os.environ['MSA_OF_THE_BUILD'])") == ["here"]


def test_figures_are_shown_as_in_any_kernel(forker):
    shown = "import matplotlib; print(matplotlib.get_backend())"
    assert run(shown)[0].endswith(("inline", "backend_inline"))


def test_a_kernel_that_dies_is_noticed(forker):
    with pytest.raises(DeadKernelError):
        run("import os; os._exit(3)")


def test_its_end_is_seen_and_waited_for(forker, tmp_path):
    link = tmp_path / "kernel.json"
    kernel = kernels.ForkedKernel(
        kernels.ForkedProvisioner.address, ["-f", str(link)], str(tmp_path), {}
    )
    assert kernel.poll() is None
    kernel.kill()
    assert kernel.wait(10) == 0
    assert kernel.poll() == 0
    kernel.terminate()  # says nothing to whoever may have its number now


def test_without_that_process_a_kernel_starts_the_slow_way(forker, monkeypatch):
    nowhere = kernels.ForkedProvisioner.address.with_name("nobody")
    monkeypatch.setattr(kernels.ForkedProvisioner, "address", nowhere)
    assert run("import os; print(os.getppid())") == [str(os.getpid())]


STARTS_AND_ENDS = """
import os, sys
from msa.report import kernels
process = kernels.start([])
asked = ["-f", sys.argv[1] + "/kernel.json"], sys.argv[1], dict(os.environ)
kernel = kernels.ForkedKernel(kernels.ForkedProvisioner.address, *asked)
print(process.pid, kernel.pid, file=open(sys.argv[1] + "/pids", "w"))
"""


def test_it_and_its_kernels_end_with_the_process_that_started_it(tmp_path):
    subprocess.run([sys.executable, "-c", STARTS_AND_ENDS, tmp_path], check=True)
    left = [f"/proc/{pid}" for pid in (tmp_path / "pids").read_text().split()]
    assert len(left) == 2
    until = time.monotonic() + 60
    while any(map(os.path.exists, left)):
        assert time.monotonic() < until, f"{left} outlived their parent"
        time.sleep(0.1)


def test_kernels_that_start_together_share_no_socket():
    first, second = kernels.SocketKernelManager(), kernels.SocketKernelManager()
    assert (first.transport, second.transport) == ("ipc", "ipc")
    assert first.ip != second.ip
