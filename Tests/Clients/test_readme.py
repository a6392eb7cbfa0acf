"""What the documentation says is so: its examples run, its names exist, its tables are true."""

import collections
import pathlib
import re
import socket
import struct
import subprocess
import sys

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from broker import ENVIRONMENT, ROOT, SERVER

README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
ADDRESS = "127.0.0.1:9092"
NOT_RUN = re.compile(r"<!-- not run: .+ -->$")
# Blocks that may be shown without being run: they start this suite, or a broker for good.
NOT_RUN_COMMANDS = {"make run", "make test"}
BLOCK_SECONDS = 120
# Properties of clients, which are no settings of the broker.
CLIENT_PROPERTIES = {"enable.idempotence"}

Block = collections.namedtuple("Block", "section language text is_run line")


def blocks():
    """The fenced blocks of the README, in order, each with the heading it is under."""
    found, section, fence, before = [], "", None, ""
    for number, line in enumerate(README.read_text().splitlines(), 1):
        if fence is not None:
            if line == "```":
                language, start, is_run = fence
                found.append(Block(section, language, "\n".join(body) + "\n", is_run, start))
                fence, before = None, ""
            else:
                body.append(line)
        elif line.startswith("```"):
            fence, body = (line[3:], number, not NOT_RUN.match(before)), []
        else:
            if line.startswith("## "):
                section = line[3:]
            before = line or before
    assert fence is None, "a block is not closed"
    return found


BLOCKS = blocks()
SECTIONS = list(dict.fromkeys(block.section for block in BLOCKS))


def run(block, broker, folder):
    """Runs an example as it stands, but for where the broker and the programs are."""
    text = block.text.replace(ADDRESS, broker.address)
    text = text.replace(".build/release/", f"{pathlib.Path(SERVER).resolve().parent}/")
    text = text.replace("--duration 10s", "--duration 1s").replace("--rate 10000", "--rate 1000")
    if block.language == "python":
        command = [sys.executable, "-c", text]
    else:
        command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=BLOCK_SECONDS,
        env=ENVIRONMENT,
    )
    where = f"README.md:{block.line}"
    assert done.returncode == 0, f"{where} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("section", SECTIONS)
def test_examples_run_and_print_what_is_shown(broker, section, tmp_path):
    printed = None
    for block in BLOCKS:
        if block.section != section:
            continue
        if block.language == "text":
            assert printed == block.text, f"README.md:{block.line} shows something else"
            printed = None
        elif block.language == "toml":
            (tmp_path / "chronik.toml").write_text(block.text)
        elif block.is_run:
            assert block.language in ("sh", "python"), f"README.md:{block.line} cannot be run"
            printed = run(block, broker, tmp_path)


def test_only_commands_that_start_a_broker_or_this_suite_are_not_run():
    left_out = [block.text.strip() for block in BLOCKS if not block.is_run]
    assert set(left_out) == NOT_RUN_COMMANDS and len(left_out) == len(NOT_RUN_COMMANDS)


def test_each_line_of_a_configuration_file_is_taken(tmp_path):
    examples = [block for block in BLOCKS if block.language == "toml"]
    assert examples
    for block in examples:
        path = tmp_path / "example.toml"
        path.write_text(block.text)
        done = subprocess.run(
            [SERVER, "standalone", "--config", str(path), "--config-check"],
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
            env=ENVIRONMENT,
        )
        assert done.returncode == 0, done.stderr
        lines = [n for n, line in enumerate(block.text.splitlines(), 1) if " = " in line]
        taken = re.findall(rf"# {re.escape(str(path))}:(\d+)$", done.stdout, re.M)
        assert sorted(map(int, taken)) == lines


# MARK: Settings


def reference():
    """Every key and alias of the server's own reference, with its default."""
    done = subprocess.run(
        [SERVER, "--config-reference"],
        capture_output=True,
        text=True,
        timeout=BLOCK_SECONDS,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    settings = {}
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 4 and cells[0].startswith("`"):
            for key in re.findall(r"`([^`]+)`", cells[0]):
                settings[key] = cells[1].strip("`")
    assert len(settings) > 30
    return done.stdout, settings


def topic_settings(broker):
    client = AdminClient({"bootstrap.servers": broker.address})
    for future in client.create_topics([NewTopic("described", 1)]).values():
        future.result(timeout=30)
    resource = ConfigResource(ConfigResource.Type.TOPIC, "described")
    [future] = client.describe_configs([resource]).values()
    return set(future.result(timeout=30))


def test_the_reference_is_the_server_s_own():
    assert (ROOT / "docs/configuration.md").read_text() == reference()[0]


def test_settings_that_are_named_exist(broker):
    known = set(reference()[1]) | topic_settings(broker) | CLIENT_PROPERTIES
    for page in PAGES:
        named = set()
        for code in re.findall(r"`([^`\n]+)`", page.read_text()):
            match = re.fullmatch(r"([a-z]+(?:\.[a-z]+)+)(?: ?= ?\S+)?", code)
            if match and not (page.parent / match[1]).exists() and not is_file(match[1]):
                named.add(match[1])
        assert named <= known, f"{page.name} names {sorted(named - known)}"


def is_file(name):
    return name.endswith((".swift", ".py", ".toml", ".md", ".properties", ".wal", ".json"))


def table(heading):
    """The rows of the table under a heading of the README."""
    text = README.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows[1:]]


def test_the_limits_are_the_defaults():
    settings = reference()[1]
    checked = 0
    for what, limit, keys, _ in table("Limits"):
        for key in re.findall(r"`([^`]+)`", keys)[:1]:
            shown = "2147483647" if limit == "no limit" else limit.replace(",", "")
            shown = shown.replace(" minutes", "m").replace(" bytes", "").replace(" ", "")
            assert shown == settings[key], f"{what}: {key} is {settings[key]}"
            checked += 1
    assert checked > 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_and_variables_that_are_named_exist(page):
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M)) <= targets
    variables = {f"CHRONIK_{key.upper().replace('.', '_')}" for key in reference()[1]}
    for source in [*(ROOT / "Tests").rglob("*"), *(ROOT / "Sources").rglob("*")]:
        if source.suffix in (".py", ".swift") and source != pathlib.Path(__file__).resolve():
            variables |= set(re.findall(r"CHRONIK_[A-Z_]+", source.read_text()))
    assert set(re.findall(r"`(CHRONIK_[A-Z_]+)`", text)) <= variables


# MARK: The protocol


def api_versions(broker):
    """Asks in version 0, by hand: what clients think of it does not matter here."""
    client = b"docs"
    request = struct.pack(">hhih", 18, 0, 7, len(client)) + client
    with socket.create_connection(("127.0.0.1", broker.port), timeout=30) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        stream = connection.makefile("rb")
        (length,) = struct.unpack(">i", stream.read(4))
        answer = stream.read(length)
    correlation, error, count = struct.unpack_from(">ihi", answer)
    assert (correlation, error) == (7, 0)
    return [struct.unpack_from(">hhh", answer, 10 + 6 * place) for place in range(count)]


def test_the_table_of_apis_is_what_the_broker_answers(broker):
    source = (ROOT / "Sources/KafkaMessages/Generated/APIKey.swift").read_text()
    names = {int(n): name for name, n in re.findall(r"case (\w+) = (\d+)", source)}
    shown = []
    for key, name, versions in table("Supported APIs"):
        assert name[0].lower() + name[1:] == names[int(key)]
        low, _, high = versions.partition("–")
        shown.append((int(key), int(low), int(high or low)))
    assert shown == sorted(api_versions(broker))


# MARK: Files


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.M)
            plain = [re.sub(r"[^\w\- ]", "", heading) for heading in headings]
            anchors = [heading.lower().replace(" ", "-") for heading in plain]
            assert anchor in anchors, f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_are_named_exist(page):
    """Those in code spans that begin with a folder of the repository, or are a file of it."""
    folders = ("Sources", "Tests", "docs")
    for code in re.findall(r"`([^`\n]+)`", page.read_text()):
        if not re.fullmatch(r"[\w.+/-]+", code):
            continue
        is_path = code.split("/")[0] in folders or re.fullmatch(r"[\w/+]+\.(swift|md|py)", code)
        if is_path:
            places = [ROOT / code, page.parent / code]
            assert any(place.exists() for place in places), f"{page.name} names {code}"
