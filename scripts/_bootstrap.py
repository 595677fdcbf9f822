"""From whatever Python the user has to the locked environment, then into the command.

Runs on the system Python: standard library only, and syntax that an old Python still parses,
so that an unsupported one prints a sentence instead of a SyntaxError.
"""

import glob
import hashlib
import os
import shutil
import subprocess
import sys

try:
    import fcntl
except ImportError:
    sys.stderr.write("taxiway: neither Airflow nor this command runs on Windows itself.\n")
    sys.stderr.write("         Use WSL 2 or a container: docs/systems.md\n")
    sys.exit(3)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
TOOLS = os.path.join(ROOT, ".tools")
# uv's version and its hashes, which `scripts/docs` takes from uv.lock.
UV = os.path.join(ROOT, "scripts", "uv.txt")
OLDEST, NEWEST = (3, 11), (3, 13)
# What .venv was made of: written last, so that an installation that was ended is begun again.
STAMP = os.path.join(VENV, ".taxiway-lock")
# What decides what is installed: the lock, and the packages of this checkout with their entry points.
MEMBERS = ("infra", "plugins", "plugins/left_out", "scripts")
DECIDING = ("uv.lock", "pyproject.toml", "scripts/uv.txt", *(m + "/pyproject.toml" for m in MEMBERS))
# Dependency groups that a command needs beyond what the platform runs with.
GROUPS = {"test": ("test",), "check": ("check",), "bench": ("bench",)}
# Dependency groups that an entry needs, by what is in its file.
GROUPS_OF_ENTRIES = {"sftp://": "sftp"}
ALL_GROUPS = {group for groups in GROUPS.values() for group in groups}.union(GROUPS_OF_ENTRIES.values())
# Groups that somebody adds with uv, for entries of the catalogue, and the package that tells.
ADDED_BY_HAND = {"mysql": "pymysql"}
# A program of each group that has one. A bare `uv sync`, such as that of `pulumi install`, takes groups away.
PROGRAMS = {"test": "pytest", "check": "ruff"}


def run(command):
    """Run `command` inside the locked environment, which is set up first if it is missing."""
    groups = (*GROUPS.get(command, ()), *groups_of_entries())
    text = help_text(command, sys.argv[1:])
    # Nobody waits for a gigabyte to read what a command is for.
    if text and not complete(lock_hash(), groups):
        sys.stdout.write(text)
        return
    try:
        ensure_environment(groups)
    except KeyboardInterrupt:
        say("interrupted. Call scripts/%s again: it goes on where it stopped." % command)
        sys.exit(130)
    except OSError as error:
        fail(
            "%s: %s." % (error.filename, error.strerror),
            "Call it as who owns %s, or use a clone of your own." % ROOT,
        )
    # Bytecode is written when a module is first imported: of 22,000 modules the platform imports 3,500.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.execv(VENV_PYTHON, [VENV_PYTHON, "-m", "taxiway", command, *sys.argv[1:]])


def help_text(command, words):
    """What a command line that asks for help prints, from docs/commands.md; empty for any other."""
    section = "scripts/" + command
    if command == "help" and "--help" not in words:
        section = "scripts/" + words[0] if words else "Overview"
    elif "--help" not in words[: words.index("--") if "--" in words else None]:
        return ""
    page = text_of(os.path.join(ROOT, "docs", "commands.md"))
    # A command that there is not is answered by those that there are.
    sections = [section, "Overview"] if command == "help" else [section]
    found = [page.partition("\n## %s\n\n```text\n" % name)[2].partition("```\n")[0] for name in sections]
    return next(filter(None, found), "")


def groups_of_entries():
    """The dependency groups that the datasets of this checkout need, the library's own packages left out."""
    folders = set(glob.glob(os.path.join(ROOT, "plugins", "*"))).difference(
        os.path.join(ROOT, "plugins", name) for name in ("elt", "left_out")
    )
    files = [f for folder in folders for f in glob.glob(os.path.join(folder, "**", "*.py"), recursive=True)]
    # An address that scripts/new is to look at, too.
    texts = [text_of(file) for file in files] + sys.argv[1:]
    return [group for mark, group in GROUPS_OF_ENTRIES.items() if any(mark in text for text in texts)]


def ensure_environment(groups=()):
    """Install what uv.lock says into .venv, with these dependency groups; costs one hash if that is done."""
    wanted = lock_hash()
    if complete(wanted, groups):
        return
    os.makedirs(TOOLS, exist_ok=True)
    # Two commands started together must not install into one folder at once.
    with open(os.path.join(TOOLS, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete(wanted, groups):
            return
        python = supported_python()
        uv = private_uv(python)
        # What a command has added before stays: the commands would take it from each other else.
        groups = sorted(installed_groups().intersection(ALL_GROUPS).union(groups, added_by_hand()))
        added = " ".join(sorted(set(groups) - installed_groups())) if wanted in installed_groups() else ""
        what = f"the packages of: {added}" if added else "the locked packages"
        say(f"installing {what} into .venv (once{'' if added else '; 1.1 GB on disk'})")
        sync(uv, python, groups)
        with open(STAMP + ".new", "w") as file:
            file.write(" ".join([wanted, *groups]))
        # A file of its own, not the old one's content: a copy of .venv may share its files by hard links.
        os.replace(STAMP + ".new", STAMP)


def added_by_hand():
    """The groups of ADDED_BY_HAND that are in .venv: what a user has added stays, too."""
    packages = os.path.join(VENV, "lib", "python*", "site-packages")
    return [name for name, package in ADDED_BY_HAND.items() if glob.glob(os.path.join(packages, package))]


def complete(wanted, groups):
    """Whether .venv holds what the lock of that hash says, with these groups."""
    programs = [os.path.join(os.path.dirname(VENV_PYTHON), PROGRAMS[g]) for g in groups if g in PROGRAMS]
    return installed_groups().issuperset([wanted, *groups]) and all(map(os.path.exists, programs))


def installed_groups():
    """The hash of the lock that .venv was made of, and the groups that were added to it."""
    return set(text_of(STAMP).split()) if os.access(VENV_PYTHON, os.X_OK) else set()


def lock_hash():
    """Hash of the files that decide what is installed."""
    texts = (text_of(os.path.join(ROOT, name)) for name in DECIDING)
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def text_of(path):
    """The text of a file; empty if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


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
    """Path of uv: our own, of the version and the hashes in scripts/uv.txt, else the one on PATH."""
    target = os.path.join(TOOLS, "uv")
    uv, stamp = os.path.join(target, "bin", "uv"), os.path.join(target, "uv.txt")
    if os.access(uv, os.X_OK) and text_of(stamp) == text_of(UV):
        return uv
    pip = ["-m", "pip", "install", "-q", "--require-hashes", "--only-binary", ":all:", "-r", UV]
    # Debian's Python may have pip and no venv, others venv and no pip.
    ways = (
        [[python, "-m", "venv", target], [os.path.join(target, "bin", "python"), *pip]],
        [[python, *pip, "--target", target]],
    )
    say("installing uv into .tools")
    for commands in ways:
        shutil.rmtree(target, ignore_errors=True)
        reason = first_failure(commands)
        if not reason and os.access(uv, os.X_OK):
            shutil.copy(UV, stamp)
            return uv
    shutil.rmtree(target, ignore_errors=True)
    return shutil.which("uv") or fail(
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
    env = dict(os.environ, UV_PYTHON_DOWNLOADS="never", UV_PROJECT_ENVIRONMENT=VENV)
    env.pop("VIRTUAL_ENV", None)
    if not os.path.exists(VENV_PYTHON):
        # Relocatable: its programs keep working when the checkout is moved or copied.
        make = [uv, "venv", "--quiet", "--clear", "--relocatable", "--no-managed-python", "--python", python]
        # What fails here fails again below, where it is told.
        subprocess.run([*make, VENV], cwd=ROOT, env=env, check=False, timeout=300, stderr=subprocess.DEVNULL)
    command = [uv, "sync", "--frozen", "--no-managed-python", "--python", python]
    for group in groups:
        command += ["--group", group]
    unseen = []
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as process:
        # What a user waits for; the rest is 300 package names, and remarks on other Pythons.
        for line in process.stderr:
            wanted = line.lstrip().startswith(("Downloading", "Prepared", "Installed"))
            say(line.strip()) if wanted else unseen.append(line)
    if process.returncode:
        sys.stderr.write("".join(unseen[-20:]))
        remedy = "Check the network to the package index and the free disk (about 2 GB), then call again."
        if any("initialize cache" in line for line in unseen):
            remedy = "Let UV_CACHE_DIR name a folder that you may write, then call again."
        fail(
            "the locked packages could not be installed (uv sync exited with %d)." % process.returncode,
            remedy,
        )


def say(sentence):
    """One line of progress on standard error."""
    sys.stderr.write("taxiway: %s\n" % sentence)
    sys.stderr.flush()


def fail(sentence, remedy):
    """End with the sentence and what to do about it; exit code 3: nothing was started."""
    sys.stderr.write("taxiway: %s\n         %s\n" % (sentence, remedy))
    sys.exit(3)
