"""From whatever Python the user has to the locked environment, then into the verb.

Runs on the system Python: standard library only, and syntax that an old Python still parses,
so that an unsupported one hears a sentence instead of a SyntaxError.
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


def run(verb):
    """Run `verb` inside the locked environment, setting that up first where it is missing."""
    if os.path.realpath(sys.prefix) == os.path.realpath(os.path.join(ROOT, ".venv")):
        from taxiway.cli.main import main

        sys.exit(main(verb, sys.argv[1:]))
    ensure_environment()
    script = os.path.join(ROOT, "scripts", verb)
    os.execv(VENV_PYTHON, [VENV_PYTHON, script, *sys.argv[1:]])


def ensure_environment():
    """Install what uv.lock says into .venv; costs one hash where that has been done."""
    stamp, wanted = os.path.join(ROOT, ".venv", ".taxiway-lock"), lock_hash()
    if installed(stamp, wanted):
        return
    with only_one_at_a_time():
        if installed(stamp, wanted):
            return
        python = supported_python()
        uv = private_uv(python)
        say("installing the locked packages into .venv (once; about 2 GB on disk)")
        sync(uv, python)
        with open(stamp, "w") as file:
            file.write(wanted)


def installed(stamp, wanted):
    """Whether .venv holds exactly what the lock asks for."""
    try:
        with open(stamp) as file:
            return file.read() == wanted and os.access(VENV_PYTHON, os.X_OK)
    except OSError:
        return False


def lock_hash():
    """Hash of the files that decide what is installed."""
    digest = hashlib.sha256(UV.encode())
    for name in ("uv.lock", "pyproject.toml"):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


@contextlib.contextmanager
def only_one_at_a_time():
    """Two verbs started together must not install into one folder at once."""
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
    """(major, minor) of an interpreter; (0, 0) where it does not run (a pyenv shim, say)."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        return tuple(map(int, answer.stdout.split()))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return (0, 0)


def private_uv(python):
    """Path of uv: our own where venv or pip can install it, else the one on PATH."""
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
        reason = first_complaint(commands)
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


def first_complaint(commands):
    """Run the commands until one fails; its last words, empty where none does."""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1]
    return ""


def sync(uv, python):
    """Install the lock with bytecode compiled: every Airflow process starts twice as fast."""
    env = dict(os.environ, UV_PYTHON_DOWNLOADS="never", UV_PROJECT_ENVIRONMENT=os.path.join(ROOT, ".venv"))
    env.pop("VIRTUAL_ENV", None)
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    if not os.path.exists(VENV_PYTHON):
        # Relocatable: its programs keep working when the checkout is moved or copied.
        make = [uv, "venv", "--quiet", "--clear", "--relocatable", "--no-managed-python", "--python", python]
        subprocess.run([*make, os.path.join(ROOT, ".venv")], cwd=ROOT, env=env, check=False)
    command = [uv, "sync", "--frozen", "--compile-bytecode", "--no-managed-python", "--python", python]
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as process:
        heard = [line for line in map(str.rstrip, process.stderr) if not show_progress(line)]
    if process.returncode:
        sys.stderr.write("\n".join(heard[-20:]) + "\n")
        fail(
            "the locked packages could not be installed (uv sync exited with %d)." % process.returncode,
            "Check the network to the package index and the free disk (about 3 GB), then call again.",
        )


def show_progress(line):
    """Show what a user waits for, keep the rest (300 package names, remarks on other Pythons)."""
    wanted = line.lstrip().startswith(("Downloading", "Prepared", "Installed", "Bytecode"))
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
