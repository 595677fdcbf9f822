"""From whatever Python the user has to the locked environment, then into the command.

Runs on the system Python: standard library only, and syntax that an old Python still parses,
so that an unsupported one prints a sentence instead of a SyntaxError.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV_PYTHON = os.path.join(ROOT, ".venv", "bin", "python")
TOOLS = os.path.join(ROOT, ".tools")
PRIVATE_UV = os.path.join(TOOLS, "uv", "bin", "uv")
UV = "uv==0.13.9"
OLDEST, NEWEST = (3, 11), (3, 13)
# What .venv was made of: written last, so that an installation that was ended is begun again.
STAMP = os.path.join(ROOT, ".venv", ".taxiway-lock")
# What decides what is installed: the lock, and the packages of this checkout with their entry points.
DECIDING = (
    "uv.lock",
    "pyproject.toml",
    "infra/pyproject.toml",
    "plugins/pyproject.toml",
    "plugins/left_out/pyproject.toml",
    "scripts/pyproject.toml",
)
# Dependency groups that a command needs beyond what the platform runs with.
GROUPS = {"test": ("test",), "check": ("check",), "bench": ("bench",)}
ALL_GROUPS = {group for groups in GROUPS.values() for group in groups}


def run(command):
    """Run `command` inside the locked environment, which is set up first if it is missing."""
    ensure_environment(GROUPS.get(command, ()))
    # Bytecode is written when a module is first imported: of 22,000 modules the platform imports 3,500.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.execv(VENV_PYTHON, [VENV_PYTHON, "-m", "taxiway", command, *sys.argv[1:]])


def ensure_environment(groups=()):
    """Install what uv.lock says into .venv, with these dependency groups; costs one hash if that is done."""
    wanted = lock_hash()
    if complete(wanted, groups):
        return
    with only_one_at_a_time():
        if complete(wanted, groups):
            return
        python = supported_python()
        uv = private_uv(python)
        # What a command has added before stays: the commands would take it from each other else.
        groups = sorted(installed_groups().intersection(ALL_GROUPS).union(groups))
        say("installing the locked packages into .venv (once; 1.1 GB on disk)")
        sync(uv, python, groups)
        with open(STAMP + ".new", "w") as file:
            file.write(" ".join([wanted, *groups]))
        # A file of its own, not the old one's content: a copy of .venv may share its files by hard links.
        os.replace(STAMP + ".new", STAMP)


def complete(wanted, groups):
    """Whether .venv holds what the lock of that hash says, with these groups."""
    return installed_groups().issuperset([wanted, *groups])


def installed_groups():
    """The hash of the lock that .venv was made of, and the groups that were added to it."""
    try:
        with open(STAMP) as file:
            return set(file.read().split()) if os.access(VENV_PYTHON, os.X_OK) else set()
    except OSError:
        return set()


def lock_hash():
    """Hash of the files that decide what is installed."""
    digest = hashlib.sha256(UV.encode())
    for name in DECIDING:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


@contextlib.contextmanager
def only_one_at_a_time():
    """Two commands started together must not install into one folder at once."""
    os.makedirs(TOOLS, exist_ok=True)
    with open(os.path.join(TOOLS, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def supported_python():
    """Path of a Python between OLDEST and NEWEST: this one if it fits, else the newest on PATH."""
    names = ["python3.%d" % minor for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    for candidate in [sys.executable, *filter(None, map(shutil.which, names))]:
        if OLDEST <= version_of(candidate) <= NEWEST:
            return candidate
    return fail(
        "Python %s is not supported, and no Python 3.11 to 3.13 is on PATH (tried %s)."
        % (".".join(map(str, sys.version_info[:3])), ", ".join(names)),
        "Install one, for example: apt-get install python3.11   or   brew install python@3.13",
    )


def version_of(python):
    """(major, minor) of an interpreter; (0, 0) if it does not run (a pyenv shim, say)."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=30)
        return tuple(map(int, answer.stdout.split()))
    except (OSError, subprocess.SubprocessError, ValueError):
        return (0, 0)


def private_uv(python):
    """Path of uv: our own if venv or pip can install it, else the one on PATH."""
    if os.access(PRIVATE_UV, os.X_OK):
        return PRIVATE_UV
    target = os.path.dirname(os.path.dirname(PRIVATE_UV))
    ways = [
        [
            [python, "-m", "venv", target],
            [os.path.join(target, "bin", "python"), "-m", "pip", "install", "-q", UV],
        ],
        [[python, "-m", "pip", "install", "-q", "--target", target, UV]],
    ]
    say("installing uv into .tools")
    reason = ""
    for commands in ways:
        shutil.rmtree(target, ignore_errors=True)
        reason = first_failure(commands)
        if not reason and os.access(PRIVATE_UV, os.X_OK):
            return PRIVATE_UV
    shutil.rmtree(target, ignore_errors=True)
    found = shutil.which("uv")
    if found:
        return found
    return fail(
        "uv could not be installed with the venv or pip of %s (%s), and no uv is on PATH." % (python, reason),
        "Check the network, or: apt-get install python3-venv   or   pipx install uv   or   brew install uv",
    )


def first_failure(commands):
    """Run the commands until one fails; the last line that it printed, empty if none fails."""
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        except subprocess.TimeoutExpired:
            return "no end within 600 s"
        if done.returncode:
            return ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1]
    return ""


def sync(uv, python, groups):
    """Install the lock, without compiling it: that took a minute, for bytecode that is hardly ever read.

    It has no time limit of ours: uv has one for each request, and a slow network may need an hour.
    """
    env = dict(os.environ, UV_PYTHON_DOWNLOADS="never", UV_PROJECT_ENVIRONMENT=os.path.join(ROOT, ".venv"))
    env.pop("VIRTUAL_ENV", None)
    if not os.path.exists(VENV_PYTHON):
        # Relocatable: its programs keep working when the checkout is moved or copied.
        make = [uv, "venv", "--quiet", "--clear", "--relocatable", "--no-managed-python", "--python", python]
        subprocess.run([*make, os.path.join(ROOT, ".venv")], cwd=ROOT, env=env, check=False, timeout=300)
    command = [uv, "sync", "--frozen", "--no-managed-python", "--python", python]
    for group in groups:
        command += ["--group", group]
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as process:
        unseen = [line for line in map(str.rstrip, process.stderr) if not show_progress(line)]
    if process.returncode:
        sys.stderr.write("\n".join(unseen[-20:]) + "\n")
        fail(
            "the locked packages could not be installed (uv sync exited with %d)." % process.returncode,
            "Check the network to the package index and the free disk (about 2 GB), then call again.",
        )


def show_progress(line):
    """Print what a user waits for, keep the rest (300 package names, remarks on other Pythons)."""
    wanted = line.lstrip().startswith(("Downloading", "Prepared", "Installed"))
    if wanted:
        say(line.strip())
    return wanted


def say(sentence):
    """One line of progress on standard error."""
    sys.stderr.write("taxiway: %s\n" % sentence)
    sys.stderr.flush()


def fail(sentence, remedy):
    """End with the sentence and what to do about it; exit code 3: nothing was started."""
    sys.stderr.write("taxiway: %s\n         %s\n" % (sentence, remedy))
    sys.exit(3)
