# SPDX-License-Identifier: BSD-3-Clause
"""What a user can see of the I/O path: queues, latency by stage, OpenMetrics, nvmetctl top."""

import contextlib
import itertools
import json
import os
import re
import resource
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from daemon import BUILD, ENV, NQN, TOP, run_nvmetd
from nvmetcp import HOSTNQN, Host, Status, read, write

STAGES = ("pages", "network_in", "ssd", "network_out", "total")
ODD_HOST = 'nqn.2014-08.org.nvmexpress:a"b\\c'
SAMPLE = re.compile(r'^(nvmetd_[a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)$')


@pytest.fixture
def measured(start):
    """A daemon with a metrics endpoint, and its URL."""
    daemon = start("--ssd", "emulated:size=64M,namespaces=1", "--listen", "127.0.0.1:0", "--nqn",
                   NQN, "--metrics", "127.0.0.1:0")
    return daemon, re.search(r"metrics: (http://\S+)", daemon.log())[1]


def work(queue):
    """3 reads of 4 KiB, 2 writes of 8 KiB (one by R2T), a flush, an error; nothing else."""
    for _ in range(3):
        read(queue, 0, 8)
    write(queue, 0, bytes(8192))
    write(queue, 0, bytes(8192), inline=False)
    queue.run(0x00, nsid=1)
    assert queue.status(0x02, nsid=1, read=512, cdw10=0xFFFFFFFF, cdw11=0, cdw12=0) != 0


def settled(daemon, name, good):
    """The answer of nvmetctl, once `good` thinks so: counting ends after the answer has left."""
    end = time.monotonic() + 60
    while not good(answer := daemon.ctl(name)):
        assert time.monotonic() < end, answer
        time.sleep(0.02)
    return answer


def test_queues(measured):
    """Each I/O queue counts its own."""
    daemon, _ = measured
    with Host(daemon.address, NQN, queues=2) as host:
        work(host.io[0])
        queues = settled(daemon, "queues", lambda a: a["queues"][0]["errors"])["queues"]
        assert [queue["qid"] for queue in queues] == [1, 2]
        first, second = queues
        assert (first["reads"], first["writes"], first["others"]) == (4, 2, 1)
        assert first["bytes_read"] == 3 * 4096 + 512 and first["bytes_written"] == 2 * 8192
        assert first["errors"] == 1 and first["total_us"] >= first["ssd_us"]
        assert second["reads"] == second["writes"] == second["errors"] == 0
        assert first["subsystem"] == NQN and first["peer"].startswith("127.0.0.1:")


def stages(answer):
    """{(command, stage): item}"""
    return {(item["command"], item["stage"]): item for item in answer["stages"]}


def test_latency(measured):
    """Every I/O command passes its stages once; admin commands do not count."""
    daemon, _ = measured
    with Host(daemon.address, NQN) as host:
        work(host.io[0])
        found = stages(settled(daemon, "latency", lambda a: stages(a)["other", "network_out"]["count"]))
        for stage in "pages", "network_in", "ssd":
            assert found["read", stage]["count"] == 3
            assert found["write", stage]["count"] == 2
        assert found["read", "network_out"]["count"] == 4  # with the one that was refused
        assert found["other", "ssd"]["count"] == 1 and found["other", "pages"]["count"] == 0
        assert found["read", "ssd"]["p50_us"] <= found["read", "ssd"]["p99_us"]
        before = found["write", "network_in"]["p50_us"]  # that in its capsule
        # A write whose data takes its time: the network's stage, and no other, tells.
        command = host.io[0].start(0x01, nsid=1, write=bytes(8192), cdw10=0, cdw11=0, cdw12=15)
        command.auto = False
        host.io[0].pump()
        time.sleep(0.3)
        host.io[0].send_data(command, 8192)
        host.io[0].wait(command)
        found = stages(settled(daemon, "latency",
                               lambda a: stages(a)["write", "network_out"]["count"] == 3))
        assert found["write", "network_in"]["p99_us"] >= 250000 > before
        histograms = stages(daemon.ctl("histograms"))
        assert sum(n for _, n in histograms["write", "network_in"]["buckets"]) == 3


def buckets(answer):
    """{(command, stage, bucket): count}"""
    return {(item["command"], item["stage"], index): count
            for item in answer["stages"] for index, count in item["buckets"]}


def test_latency_of_a_queue(measured):
    """Each queue has its own histograms: in list as percentiles, on request whole; all add up to the totals."""
    daemon, _ = measured
    with Host(daemon.address, NQN, queues=3) as host, Host(daemon.address, NQN) as other:
        work(host.io[0])
        read(host.io[1], 0, 8)
        work(other.io[0])
        settled(daemon, "queues", lambda a: sum(q["reads"] + q["others"] for q in a["queues"]) == 11)
        found = {}
        one, two = host.admin.cntlid, other.admin.cntlid
        for cntlid, qid in (one, 1), (one, 2), (one, 3), (two, 1):
            for key, count in buckets(daemon.ctl("histograms", NQN, cntlid, qid)).items():
                found[key] = found.get(key, 0) + count
        assert found == buckets(daemon.ctl("histograms"))
        second = stages(daemon.ctl("latency", NQN, one, 2))
        assert [second["read", stage]["count"] for stage in STAGES] == [1, 1, 1, 1, 1]
        assert not any(second["write", stage]["count"] for stage in STAGES)
        ctrls = next(s for s in daemon.ctl("list")["subsystems"] if s["nqn"] == NQN)["controllers"]
        queues = {(c["cntlid"], q["qid"]): q.get("latency") for c in ctrls for q in c["queues"]}
        assert queues[one, 0] is None and queues[one, 3] == []  # an admin queue, an idle one
        assert [(item["stage"], item["count"]) for item in queues[two, 1]] == [
            ("total", 7), ("pages", 5), ("network_in", 6), ("ssd", 6), ("network_out", 7)]
        assert all(item["p50_us"] <= item["p99_us"] for item in queues[two, 1])
        for wrong in (NQN, one, 4), (NQN, one, 129), (NQN, two + 1, 1), (NQN + "x", one, 1), (NQN, "x", 1):
            with pytest.raises(subprocess.CalledProcessError):
                daemon.ctl("latency", *wrong)


def test_totals_go_on(measured):
    """What ended queues did stays in the totals, at every moment of their end; and in those of queue pairs."""
    daemon, url = measured
    last, hosts = {}, 0

    def look():
        """No total has gone backwards."""
        nonlocal last
        now = {key: value for key, value in scrape(url).items()
               if not key[0].startswith(("nvmetd_queue_", "nvmetd_pair_"))
               and key[0].endswith(("_total", "_bucket", "_count", "_sum"))}
        assert not [key for key in last if now[key] < last[key]]
        last = now

    for hosts in range(1, 4):
        with Host(daemon.address, NQN, queues=2) as host:
            work(host.io[0])
            work(host.io[1])
            look()
        end = time.monotonic() + 60
        while daemon.counters()["controllers"]:
            look()
            assert time.monotonic() < end
        look()
        assert last["nvmetd_io_commands_total", '{command="write"}'] == 4 * hosts
        assert last["nvmetd_io_bytes_total", '{command="write"}'] == 4 * 8192 * hosts
        assert last["nvmetd_io_errors_total", None] == 2 * hosts
        assert last["nvmetd_stage_seconds_count", '{command="read",stage="ssd"}'] == 6 * hosts
        assert last["nvmetd_command_seconds_count", '{command="read"}'] == 8 * hosts
    daemon.expect_clean()


def test_pairs(start):
    """How the completions of each queue pair were found; the totals outlive it."""
    daemon = start("--ssd", "emulated:size=64M,fault.delay=1,fault.delay_ms=20", "--listen",
                   "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        for _ in range(3):
            read(host.io[0], 0, 8)
        pair, = daemon.ctl("pairs")["pairs"]
        assert pair["submitted"] == pair["completed"] == 3 and pair["users"] == 1
        assert pair["interrupts"] + pair["cq_polls"] >= 1 and 1 <= pair["doorbells"] <= 3
        status = daemon.ctl("status")
        found = pair["interrupts"] + pair["cq_polls"]
        assert sum(status["ssds"][0][name] for name in ("interrupts", "cq_polls")) >= found
        assert {"sleeps", "looks", "polled", "page_waits"} <= set(status["workers"][0])
    daemon.expect_clean()
    after = daemon.counters()
    assert daemon.ctl("pairs")["pairs"] == []
    assert after["interrupts"] + after["cq_polls"] >= found


def test_slow_ssd(start):
    """A slow SSD is seen as one."""
    daemon = start("--ssd", "emulated:size=64M,fault.delay=1,fault.delay_ms=50", "--listen",
                   "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        read(host.io[0], 0, 8)
        found = stages(settled(daemon, "latency", lambda a: stages(a)["read", "ssd"]["count"]))
        assert found["read", "ssd"]["p50_us"] >= 45000
        assert found["read", "total"]["p50_us"] >= found["read", "ssd"]["p50_us"]


def parse(text):
    """OpenMetrics: every line is one of its kind, families are declared first, # EOF ends it."""
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    families, samples = {}, {}
    for line in lines[:-2]:
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family not in families
            families[family] = kind
        elif not line.startswith(("# HELP ", "# UNIT ")):
            match = SAMPLE.match(line)
            assert match, line
            suffix = {"counter": "_total", "gauge": "", "info": "_info", "histogram": ("_bucket", "_sum", "_count")}
            family = list(families)[-1]
            assert match[1].startswith(family) and match[1][len(family):] in suffix[families[family]]
            assert (match[1], match[2]) not in samples
            samples[match[1], match[2]] = float(match[3])
    return samples


def scrape(url):
    """GET."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        return parse(answer.read().decode())


def test_openmetrics(measured):
    """The endpoint tells the same as nvmetctl, in a form that parses; hosts' names are escaped."""
    daemon, url = measured
    with Host(daemon.address, NQN, hostnqn=ODD_HOST) as host:
        work(host.io[0])
        settled(daemon, "queues", lambda a: a["queues"][0]["errors"])
        samples = scrape(url)
        assert samples["nvmetd_connections", None] == 2
        assert samples["nvmetd_commands_total", None] == daemon.counters()["commands"]
        labels = (f'{{subsystem="{NQN}",host="nqn.2014-08.org.nvmexpress:a\\"b\\\\c",'
                  f'cntlid="{host.admin.cntlid}",qid="1",command="write"}}')
        assert samples["nvmetd_queue_commands_total", labels] == 2
        assert samples["nvmetd_queue_bytes_total", labels] == 16384
        for command, count in ("read", 3), ("write", 2), ("other", 1):
            prefix = f'{{command="{command}",stage="ssd"'
            buckets = [value for (name, label), value in samples.items()
                       if name == "nvmetd_stage_seconds_bucket" and label.startswith(prefix)]
            assert buckets == sorted(buckets) and buckets[-1] == count
            assert samples["nvmetd_stage_seconds_count", prefix + "}"] == count
            assert samples["nvmetd_stage_seconds_sum", prefix + "}"] >= 0


def families(url):
    """(name as it is on the page, kind) → metric, by a parser that is not ours."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    suffix = {"counter": "_total", "info": "_info"}
    with urllib.request.urlopen(url, timeout=60) as answer:
        return {(metric.name + suffix.get(metric.type, ""), metric.type): metric for metric in
                parser.text_string_to_metric_families(answer.read().decode())}


def test_openmetrics_is_documented(measured):
    """Somebody else's parser takes the page, and docs/operation.md has each name on it, its type and labels, and no
    other. No gauge is called a total."""
    daemon, url = measured
    manual = (TOP / "docs/operation.md").read_text().split("## Metrics")[1]
    documented, above = {}, ""
    for row in re.findall(r"^\| (`.*) \|$", manual, re.M):
        names, kind, _, labels, _ = (cell.strip() for cell in row.split("|"))
        above = labels = labels.replace("the same", above)
        for name in re.findall(r"\w+", names):
            documented[f"nvmetd_{name}", kind] = set(labels.split(", ")) - {""}
    with Host(daemon.address, NQN) as host:
        work(host.io[0])
        settled(daemon, "queues", lambda a: a["queues"][0]["errors"])
        found = families(url)
    assert found.keys() == documented.keys()
    for key, metric in found.items():
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        assert metric.samples and metric.documentation and labels == documented[key], key
        assert key[1] != "gauge" or not key[0].endswith("_total")


def test_ssd_that_is_gone(start, tmp_path):
    """Where to see it: the log, nvmetctl status, the metrics. The names are those of docs/operation.md."""
    conf = tmp_path / "nvmet.conf"
    conf.write_text(f"""listen = ( "127.0.0.1:0" ); metrics = "127.0.0.1:0";
ssds = ( {{ name = "bad"; spec = "emulated:size=16M,fault.gone_after=10"; recovery_timeout = "10ms"; }},
         {{ name = "good"; spec = "emulated:size=16M"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true;
  namespaces = ( {{ nsid = 1; ssd = "bad"; }}, {{ nsid = 2; ssd = "good"; }} ); }} );
""")
    daemon = start("-c", conf)
    url = re.search(r"metrics: (http://\S+)", daemon.log())[1]
    with Host(daemon.address, NQN) as host:
        assert scrape(url)["nvmetd_ssd_ready", '{ssd="bad"}'] == 1
        with pytest.raises(Status):
            for _ in range(20):
                read(host.io[0], 0, 1)
        samples = scrape(url)
        bad, good = daemon.ctl("status")["ssds"]
    assert [samples["nvmetd_ssd_ready", f'{{ssd="{name}"}}'] for name in ("bad", "good")] == [0, 1]
    assert (bad["ready"], bad["state"], good["ready"], good["state"]) == (False, "absent", True, "ready")
    assert f"ctrl {host.admin.cntlid} of {HOSTNQN} at {NQN}: enabled" in daemon.log()
    assert f"{bad['device']}: gone while ready: {bad['why']}" in daemon.log()
    assert f"{bad['device']}: not back after 10 ms" in daemon.log() and good["device"] != bad["device"]


def test_openmetrics_names(start, tmp_path):
    """Labels are UTF-8: names are what they are, and what is none is escaped, each to one of its own."""
    conf = tmp_path / "nvmet.conf"
    conf.write_bytes(b'''listen = ( "127.0.0.1:0" ); metrics = "127.0.0.1:0";
ssds = ( { name = "z\xc5\xbc\\n\x1b\\"\\\\"; spec = "emulated:size=16M"; },
         { name = "\xff\xc3"; spec = "emulated:size=16M"; }, { name = "\xfe\xc3"; spec = "emulated:size=16M"; } );
subsystems = ( { nqn = "nqn.subsyst\xc3\xa8me"; allow_any_host = true; namespaces = (
  { nsid = 1; ssd = "z\xc5\xbc\\n\x1b\\"\\\\"; }, { nsid = 2; ssd = "\xff\xc3"; }, { nsid = 3; ssd = "\xfe\xc3"; } ); } );
''')
    daemon = start("-c", conf)
    with Host(daemon.address, "nqn.subsystème", hostnqn="nqn.zażółć-漢") as host:
        for nsid in 1, 2, 3:
            read(host.io[0], 0, 1, nsid=nsid)
        settled(daemon, "queues", lambda a: a["queues"][0]["reads"] == 3)
        samples = scrape(re.search(r"metrics: (http://\S+)", daemon.log())[1])
    labels = f'{{subsystem="nqn.subsystème",host="nqn.zażółć-漢",cntlid="{host.admin.cntlid}",qid="1",command="read"}}'
    assert samples["nvmetd_queue_commands_total", labels] == 3
    for name in r'zż\n\\x1b\"\\', r"\\xff\\xc3", r"\\xfe\\xc3":
        assert samples["nvmetd_pair_commands_total", f'{{ssd="{name}",qid="1"}}'] == 1


def test_openmetrics_of_many(start):
    """The page is as long with a hundred idle queues as without; one that works brings its own lines."""
    daemon = start("--ssd", "emulated:size=64M,queues=100", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--metrics", "127.0.0.1:0")
    url = re.search(r"metrics: (http://\S+)", daemon.log())[1]
    before = set(scrape(url))
    with Host(daemon.address, NQN, queues=100, entries=2) as host:
        assert set(scrape(url)) == before
        read(host.io[1], 0, 8)
        settled(daemon, "queues", lambda a: a["queues"][1]["reads"])
        more = set(scrape(url)) - before
        queue = {name for name, _ in more if name.startswith("nvmetd_queue_")}
        assert queue == {"nvmetd_queue_commands_total", "nvmetd_queue_bytes_total",
                         "nvmetd_queue_errors_total", "nvmetd_queue_page_waits_total",
                         "nvmetd_queue_stage_seconds_total"}
        assert all('qid="2"' in labels or "ssd=" in labels for _, labels in more) and len(more) < 20


def http(url, request, end=False):
    """All that the endpoint answers to these bytes, behind which our side ends, if so; or until it hangs up."""
    host, port = url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # what it has not read takes its answer away
            while data := connection.recv(1 << 16):
                answer += data
    return answer


@pytest.mark.parametrize("request_, status", [
    (b"GET / HTTP/1.1\r\n\r\n", 404), (b"GET /metricsx HTTP/1.1\r\n\r\n", 404),
    (b"GET http://x/metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", 200), (b"GET /metrics HTTP/1.1\nHost: x\n\n", 200),
    (b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\nsomething", 413),
    (b"POST /metrics HTTP/1.1\r\n\r\n", 501), (b"get /metrics HTTP/1.1\r\n\r\n", 501),
    (b"GET /metrics HTTP/2.0\r\n\r\n", 400), (b"GET /metrics HTTP/1.1 x\r\n\r\n", 400),
    (b"GET /metrics\r\n\r\n", 400), (b"\r\n\r\n", 400), (b"GET /metrics\0 HTTP/1.1\r\n\r\n", 400),
    (b"\x16\x03\x01\0\xf4\n\n", 400), (b"GET /" + b"a" * 20000, None),
    (b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 2000, None),
], ids=lambda value: value if isinstance(value, int) else "")
def test_endpoint_answers(measured, request_, status):
    """What is asked in another way, for another page, in no HTTP or without end; each connection ends behind
    its answer, or without one."""
    daemon, url = measured
    answer = http(url, request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1.[01] %d " % (status or 400), head) or (status is None and not answer), head
    assert body.endswith(b"# EOF\n") == (status == 200)
    daemon.expect_clean()


def test_endpoint_ends(measured):
    """A client that leaves before it has asked."""
    daemon, url = measured
    assert http(url, b"GET /metrics HTTP/1.1\r\n", end=True) == b"" == http(url, b"", end=True)
    daemon.expect_clean()


def test_endpoint_is_not_blocked(measured):
    """Connections that are silent, slow to ask, or never read: there are few of them, hosts and scrapers that ask
    are served meanwhile, and each comes to an end."""
    daemon, url = measured
    host, port = url.split("/")[2].split(":")
    with contextlib.ExitStack() as stack:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (256, 256))

        def connect(number, data=b""):
            for _ in range(number):
                client = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
                client.sendall(data)
            return client

        connect(200)
        scrape(url)
        connect(50, b"GET /metrics HTTP/1.1\r\n")
        connect(50, b"GET /metrics HTTP/1.1\r\n\r\n")
        scrape(url)
        with Host(daemon.address, NQN) as initiator:
            assert len(read(initiator.io[0], 0, 1)) == 512
        assert "the oldest one is closed" in daemon.log()
        assert daemon.log().count("connections are there") < 60
        assert daemon.fds() <= daemon.base_fds + 16  # 8, and connections of hosts that are being taken apart
        for _ in range(5):  # many at once, and one among them that asks
            crowd = [socket.socket() for _ in range(100)]
            for client in crowd:
                stack.enter_context(client).setblocking(False)
                client.connect_ex((host, int(port)))
            scrape(url)
        slow = connect(1)
        with pytest.raises(OSError):  # its request does not arrive in whole, however busy it is
            for byte in itertools.cycle(b"GET"):
                slow.sendall(bytes([byte]))
                time.sleep(0.1)
        daemon.expect_clean()  # while none of them has been closed on its own side


def test_off_by_default(start, tmp_path):
    """No address, no endpoint; one that is none is refused, with file and line."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0")
    assert "metrics" not in daemon.log()
    status, output = run_nvmetd("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0",
                                "--metrics", "localhost")
    assert status == os.EX_CONFIG and "--metrics localhost: expected" in output
    conf = tmp_path / "nvmet.conf"
    conf.write_text('\nmetrics = "9464";\n')
    status, output = run_nvmetd("-n", "-c", conf)
    assert status == 1 and f"{conf}:2: metrics: expected" in output
    conf.write_text('poll_us = 1001;\n')
    status, output = run_nvmetd("-n", "-c", conf)
    assert status == 1 and f"{conf}:1: poll_us: expected a number from 0 to 1000" in output


def test_text(measured):
    """Without -o json: one object a line, lists indented, yes and no, a dash for what is not there."""
    daemon, _ = measured
    command = [str(BUILD / "nvmetctl"), "--socket", str(daemon.control), "status"]
    text = subprocess.run(command, capture_output=True, text=True, env=ENV, check=True).stdout
    ssd = re.search(r"^  name=ssd .*$", text, re.M)[0]
    assert "state=ready" in ssd and "why=- " in ssd, text


def test_top(measured):
    """Text fits a terminal and tells of the queue that works; JSON is one object a line."""
    daemon, _ = measured
    loadgen = [str(BUILD / "tests" / "bench" / "loadgen"), *map(str, daemon.address), NQN, "mixed",
               "4096", "8", "60"]
    load = subprocess.Popen(loadgen, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    settled(daemon, "queues", lambda a: a["queues"] and a["queues"][0]["reads"])
    command = [str(BUILD / "nvmetctl"), "--socket", str(daemon.control)]
    text = subprocess.run([*command, "top", "1", "2"], capture_output=True, text=True, env=ENV,
                          check=True).stdout
    assert "commands under way" in text and text.count("read     ssd") == 2
    assert re.search(r"^\S*nvmetd-load +[1-9]\d* +1 +0 +[1-9]\d* +[1-9]\d* +[\d.]+ +[\d.]+(ms|s)? +[\d.]+(ms|s)? "
                     r"(pages|in|ssd|out) \d+%$", text, re.M), text
    assert max(map(len, text.splitlines())) <= 80
    lines = subprocess.run([*command, "-o", "json", "top", "1", "1"], capture_output=True, text=True,
                           env=ENV, check=True).stdout.splitlines()
    load.kill()
    load.wait()
    now = json.loads(lines[0])
    assert len(lines) == 1 and now["commands_per_s"] > 0
    queue = now["queues"][0]
    assert queue["reads_per_s"] > 0 and queue["mean_us"] > 0 and queue["count"] > 0
    assert 0 < queue["p50_us"] <= queue["p99_us"]
    assert sum(queue[f"{name}_percent"] for name in STAGES[:4]) == pytest.approx(100)
    assert queue[f"{queue['most_time_in']}_percent"] >= 25
    assert {item["stage"] for item in now["stages"]} == set(STAGES)
    bad = subprocess.run([*command, "top", "0"], capture_output=True, text=True, env=ENV, check=False)
    assert bad.returncode == 1 and "usage" in bad.stderr
