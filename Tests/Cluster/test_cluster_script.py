"""scripts/cluster starts, shows and stops nodes, and leaves none behind."""

import os
import re
import subprocess

import pytest

from broker import ROOT, SERVER

SECONDS = 90


@pytest.fixture
def script(tmp_path, needs_namespace):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CHRONIK_")}
    environment |= {"CLUSTER_DATA": str(tmp_path / "data"), "CHRONIK_SERVER": SERVER}

    def script(*arguments, shell=None):
        command = shell or [str(ROOT / "scripts/cluster"), *arguments]
        return subprocess.run(command, shell=shell is not None, capture_output=True, text=True,
                              timeout=SECONDS, env=environment)

    yield script
    script("stop")


def test_three_nodes_take_a_message_and_give_it_back(script):
    started = script("start")
    assert started.returncode == 0, started.stderr
    assert len(re.findall(r"^node \d: ready", started.stdout, re.M)) == 3
    produce, consume = re.findall(r"^    (.*kcat.*)$", started.stdout, re.M)
    assert script(shell=produce).returncode == 0
    assert script(shell=consume).stdout == "hello\n"
    # Again does no harm, and a node that is down comes back.
    pid = int(re.search(r"node 2: ready, process (\d+)", started.stdout).group(1))
    os.kill(pid, 9)
    assert "node 2: down" in script("status").stdout
    again = script("start")
    assert again.returncode == 0, again.stderr
    assert script("status").returncode == 0
    stopped = script("stop")
    assert stopped.stdout.startswith("stopped 3 nodes")
    assert script("status").returncode == 1
    assert script("start").returncode == 0
    assert script(shell=consume).stdout == "hello\n"


def test_what_it_does_not_know_it_explains(script):
    for arguments in [(), ("begin",), ("start", "0"), ("start", "3", "4")]:
        done = script(*arguments)
        assert done.returncode == 64 and "start|stop|status" in done.stderr
    assert script("status").returncode == 1
    assert script("start", "1").returncode == 64
