"""The API as curl, a browser's EventSource and a Prometheus scraper see it; who may do what; what hostile clients cost."""
import json
import os
import re
import socket

import coapc
import lib


def curl(*args, ok=0):
    """(status, headers, body) by curl."""
    p = lib.run("curl", "-sS", "-i", "--max-time", str(int(20 * lib.SLOW)), *args, ok=ok)
    head, _, body = p.stdout.partition("\n\n") if "\r\n\r\n" not in p.stdout else p.stdout.partition("\r\n\r\n")
    while re.match(r"HTTP/1.1 100", head):
        head, _, body = body.partition("\r\n\r\n")
    lines = head.splitlines()
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    return (int(lines[0].split()[1]) if lines else None), headers, body


def token_daemon(world, **http):
    token = os.path.join(world.dir, "token")
    with open(token, "w") as f:
        f.write("correct-horse-battery-staple-1234\n")
    os.chmod(token, 0o600)
    return world.daemon({"http": {"token_file": token, **http}}), token


def device(name):
    return {"vendor_id": str(lib.vendor_uuid()), "class_id": str(lib.class_uuid()), "name": name}


def test_curl_on_both_doors(shared_daemon):
    d = shared_daemon
    for where in (["--unix-socket", d.sock, "http://localhost"], [f"http://{d.http}"]):
        status, headers, body = curl(*where[:-1], where[-1] + "/api/v1/status")
        assert status == 200 and headers["content-type"] == "application/json" and headers["cache-control"] == "no-store"
        assert json.loads(body)["state_dir"] == d.state
        status, headers, body = curl("-I", *where[:-1], where[-1] + "/api/v1/status")
        assert status == 200 and int(headers["content-length"]) > 100 and not body
        status, headers, body = curl("-X", "DELETE", *where[:-1], where[-1] + "/api/v1/status")
        assert status == 405 and headers["allow"] == "GET, HEAD"
        status, headers, body = curl(*where[:-1], where[-1] + "/nothing")
        assert status == 404 and headers["content-type"] == "application/problem+json" and "openapi" in json.loads(body)["detail"]


def test_tcp_may_look_and_the_socket_may_touch(shared_daemon):
    """No token is configured: over TCP questions alone are answered."""
    d, body = shared_daemon, json.dumps(device("x"))
    put = ["-X", "PUT", "-H", "Content-Type: application/json", "--data", body]
    status, _, answer = curl(*put, f"http://{d.http}/api/v1/devices/x1")
    assert status == 403 and "Unix socket" in json.loads(answer)["detail"]
    for verb, path in (("POST", "reload"), ("POST", "updates/abcdef/approve"), ("DELETE", "devices/x1"), ("GET", "credentials"),
                       ("PUT", "credentials/x1"), ("POST", "jobs/abcdef/cancel"), ("POST", "sources/x/poll")):
        assert curl("-X", verb, f"http://{d.http}/api/v1/{path}")[0] == 403, path
    assert curl(*put, "--unix-socket", d.sock, "http://localhost/api/v1/devices/x1")[0] == 200
    assert json.loads(curl(f"http://{d.http}/api/v1/devices/x1")[2])["state"] == "enrolled"
    assert curl("-X", "DELETE", "--unix-socket", d.sock, "http://localhost/api/v1/devices/x1")[0] == 200


def test_a_token_makes_an_admin(world):
    d, token = token_daemon(world)
    good, bad = "Authorization: Bearer correct-horse-battery-staple-1234", "Authorization: Bearer correct-horse-battery-staple-1235"
    put = ["-X", "PUT", "--data", json.dumps(device("t")), f"http://{d.http}/api/v1/devices/t1"]
    assert curl(*put)[0] == 403
    status, headers, body = curl("-H", bad, *put)
    assert status == 401 and headers["www-authenticate"] == "Bearer" and "token" in json.loads(body)["detail"]
    assert curl("-H", bad, f"http://{d.http}/api/v1/status")[0] == 401
    assert curl("-H", "Authorization: Basic eDp5", f"http://{d.http}/api/v1/status")[0] == 401
    assert curl("-H", good, *put)[0] == 200
    assert lib.ctl("-s", f"http://{d.http}", "--token-file", token, "devices", "quarantine", "t1").stdout
    assert lib.ctl("-s", f"http://{d.http}", "devices", "enrol", "t1", ok=1).stderr.strip()
    assert d.get("devices/t1")["state"] == "quarantined"
    who = [e["entry"] for e in d.items("audit?subject=t1")]
    assert all("battery" not in json.dumps(e) for e in who)
    assert "battery" not in d.log_text()


def test_https_with_a_token(world):
    pki = world.pki()
    cert, key = pki.write("api.pem", pki.web.pem()), pki.write("api.key", pki.web.key_pem())
    os.chmod(key, 0o600)
    d, token = token_daemon(world, cert_file=cert, key_file=key)
    status, _, body = curl("--cacert", pki.root_file, f"https://{d.http}/api/v1/status")
    assert status == 200 and json.loads(body)["version"]
    assert lib.ctl("-s", f"https://{d.http}", "--ca-file", pki.root_file, "--token-file", token, "devices", "add", "h1").returncode == 0
    assert lib.ctl("-s", f"https://{d.http}", "--token-file", token, "status", ok=1).stderr     # a CA nobody knows
    lib.run("curl", "-sS", "--tls-max", "1.1", "--cacert", pki.root_file, f"https://{d.http}/api/v1/status", ok=35)


def test_other_web_sites_are_kept_out(shared_daemon):
    """DNS rebinding by Host, scripts of other pages by Origin."""
    d = shared_daemon
    port = d.http.rsplit(":", 1)[1]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example"):
        status, _, body = curl("-H", f"Host: {host}", f"http://{d.http}/api/v1/status")
        assert status == 421 and "state_dir" not in body, host
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}"):
        assert curl("-H", f"Host: {host}", f"http://{d.http}/api/v1/status")[0] == 200, host
    for path in ("api/v1/status", "api/v1/events", "metrics"):
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
            assert curl("-H", f"Origin: {origin}", f"http://{d.http}/{path}")[0] == 403, (path, origin)
    status, headers, _ = curl("-H", f"Origin: http://{d.http}", f"http://{d.http}/api/v1/status")
    assert status == 200 and "access-control-allow-origin" not in headers


def test_bad_requests_are_told(shared_daemon):
    d = shared_daemon
    unix = ["--unix-socket", d.sock]
    put = ["-X", "PUT", *unix]
    for data, why in (("{", "JSON"), ("[]", "object"), ('{"vendor_id":"x"}', "UUID"), ('{"proof":"faith"}', "proof"),
                      ('{"driver":"pigeon"}', "coap-pull"), ('{"name":"a\\u0001"}', "name"), ('{"wake":{"kind":"x"}}', "wake")):
        status, _, body = curl(*put, "--data", data, "http://localhost/api/v1/devices/w1")
        assert status == 400 and why in json.loads(body)["detail"], (data, body)
    assert curl(*put, "--data", "{}", "http://localhost/api/v1/devices/" + "x" * 64)[0] == 400
    assert curl(*put, "--data", "{}", "http://localhost/api/v1/devices/" + "x" * 300)[0] in (400, 404)
    assert curl(*put, "--data", '{"secret_hex":"00112233445566"}', "http://localhost/api/v1/credentials/w1")[0] == 400
    assert curl(*put, "--data", '{"secret_hex":"00112233445566778899aabbccddeeff","roles":["king"]}', "http://localhost/api/v1/credentials/w1")[0] == 400
    assert curl(*put, "--data", '{"secret_hex":"00112233445566778899aabbccddeeff","device":"nobody"}', "http://localhost/api/v1/credentials/w1")[0] == 404
    for path in ("devices?after=" + "y" * 100, "jobs?limit=0", "jobs?limit=99999999999999999999", "audit?after=x", "endpoints?after=x",
                 "why-not", "why-not?device=a&update=b", "updates/zz", "updates/..%2f..%2fetc", "jobs/%00", "events/recent?after=x"):
        assert curl(*unix, f"http://localhost/api/v1/{path}")[0] in (200, 400, 404), path
    big = os.path.join(d.dir, "big")
    with open(big, "wb") as f:
        f.write(b"x" * (2 << 20))
    assert curl(*put, "-T", big, "http://localhost/api/v1/devices/w1")[0] == 413
    assert curl(*unix, "-H", "X-Long: " + "a" * 17000, "http://localhost/api/v1/status")[0] == 431
    assert curl(*unix, "-X", "BREW", "http://localhost/api/v1/status")[0] == 501
    assert d.get("status")


def test_slow_and_greedy_clients_leave_room(shared_daemon):
    """Slowloris over TCP, readers that do not read: the Unix socket answers all the time and memory is bounded."""
    d = shared_daemon
    host, port = d.http.rsplit(":", 1)
    before, socks = d.memory(), []
    try:
        for i in range(400):
            s = socket.socket()
            s.settimeout(2)
            s.connect((host, int(port)))
            try:
                s.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * (i * 20))
            except OSError:
                pass  # one too many: closed at once
            socks.append(s)
            if i % 50 == 0:
                assert d.get("status")
        for _ in range(5):
            assert d.get("status")
        if not lib.is_sanitized():
            assert d.memory() - before < 16 << 20
    finally:
        for s in socks:
            s.close()
    lib.wait_for(lambda: curl(f"http://{d.http}/api/v1/status", ok=None)[0] == 200, "TCP answers again", 10, [d])


def test_event_streams_are_bounded(shared_daemon):
    """64 readers may listen; one more is told to come later, and gone readers make room."""
    d = shared_daemon
    socks = []
    try:
        for _ in range(64):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(10)
            s.connect(d.sock)
            s.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200 OK" in s.recv(4096)
            socks.append(s)
        assert curl("--unix-socket", d.sock, "http://localhost/api/v1/events")[0] == 503
    finally:
        for s in socks:
            s.close()
    lib.wait_for(lambda: b"200 OK" in head_of_stream(d), "room again", 10, [d])


def head_of_stream(d):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(d.sock)
        s.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return s.recv(4096)


# ---- events ----

def enrol(d, name):
    assert d.api(f"devices/{name}", "PUT", device(name))[0] == 200


def test_curl_follows_events(world, daemon):
    for i in range(3):
        enrol(daemon, f"early{i}")
    unix = world.add(coapc.Lines("curl", "-sN", "--unix-socket", daemon.sock, "http://localhost/api/v1/events?last=2"))
    tcp = world.add(coapc.Lines("curl", "-sN", f"http://{daemon.http}/api/v1/events?types=device-enrolled,update-state"))
    unix.wait(lambda x: "early2" in x, "the last events first")
    assert not any("early0" in x for x in unix.lines) and any("early1" in x for x in unix.lines)
    tcp.wait(lambda x: x.startswith("retry:"), "the stream begins")
    enrol(daemon, "late")
    daemon.api("devices/late/state", "POST", {"state": "retired"})
    enrol(daemon, "later")
    for reader in (unix, tcp):
        line = reader.wait(lambda x: x.startswith("data:") and "device later enrolled" in x, "a new event")
        data = json.loads(line[6:])
        assert data["event"] == "device-enrolled" and data["fields"]["GW_DEVICE"] == "later" and data["at"].endswith("Z")
    assert any("retired" in x for x in unix.lines) and not any("retired" in x for x in tcp.lines)
    ids = [int(x[4:]) for x in unix.lines if x.startswith("id: ")]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    recent = daemon.get("events/recent?limit=2")
    assert [i["id"] for i in recent["items"]] == ids[-2:] and "later" in recent["items"][1]["data"]["text"]
    assert [i["id"] for i in daemon.get(f"events/recent?after={ids[-3]}")["items"]] == ids[-2:]
    page = daemon.get(f"events/recent?after={ids[0]}&limit=2")
    assert [i["id"] for i in page["items"]] == ids[1:3] and page["next"] == str(ids[2])


def test_a_browser_misses_nothing_over_a_restart(world):
    """EventSource reconnects with Last-Event-ID; the daemon was restarted meanwhile and numbers go on."""
    port = lib.free_port()
    d = world.daemon(start=False)
    d.configure({"http": {"listen": [f"unix:{d.sock}", f"127.0.0.1:{port}"]}})
    d.start()
    for i in range(5):
        enrol(d, f"before{i}")
    s = world.add(coapc.Lines("node", coapc.script("events.mjs"), f"http://127.0.0.1:{port}/api/v1/events?last=1", "device-enrolled"))
    s.wait(lambda x: '"before4"' in x, "the last event")
    enrol(d, "live")
    first = json.loads(s.wait(lambda x: "device live enrolled" in x, "a live event"))
    d.restart()
    enrol(d, "after1")
    enrol(d, "after2")
    s.wait(lambda x: "device after2 enrolled" in x, "events of the new life", 20)
    names = [json.loads(x)["data"]["fields"]["GW_DEVICE"] for x in s.lines if "device-enrolled" in x]
    assert names == ["before4", "live", "after1", "after2"]
    ids = [int(json.loads(x)["id"]) for x in s.lines if "device-enrolled" in x]
    assert ids == sorted(ids) and len(set(ids)) == len(ids) and int(first["id"]) < ids[-1]


def test_a_reader_that_does_not_read_costs_a_bounded_buffer(world, daemon):
    s = socket.socket(socket.AF_UNIX)
    s.connect(daemon.sock)
    s.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for _ in range(70):                        # its buffers, and then once around the ring
        for i in range(50):
            enrol(daemon, f"{i:060}")
    assert int(metrics(daemon.api("/metrics")[1])[("dormouse_events_dropped_total", "")]) > 0
    s.close()


# ---- documents for programs ----

def test_the_openapi_document_is_valid(shared_daemon):
    file = os.path.join(shared_daemon.dir, "openapi.json")
    with open(file, "w") as f:
        json.dump(shared_daemon.get("openapi.json"), f)
    assert "valid" in coapc.node("openapi.mjs", file).stdout


def test_the_check_of_the_openapi_document_finds_mistakes(shared_daemon):
    """Each of them alone: by the official schema, a reference to nothing, what no program could be made from."""
    def no_id(d):
        d["paths"]["/devices/{id}"]["get"]["parameters"] = []

    def same_name(d):
        d["paths"]["/status"]["get"]["operationId"] = d["paths"]["/health"]["get"]["operationId"]

    mistakes = {
        "no-version": lambda d: d["info"].pop("version"), "no-info": lambda d: d.pop("info"), "other-version": lambda d: d.update(openapi="4.0.0"),
        "paths-as-list": lambda d: d.update(paths=[]), "a-path-without-slash": lambda d: d["paths"].update({"status": d["paths"].pop("/status")}),
        "parameter-without-a-place": lambda d: d["paths"]["/jobs"]["get"]["parameters"][0].pop("in"),
        "dangling": lambda d: d["components"]["schemas"].pop("Problem"), "undeclared": no_id, "twice": same_name,
        "no-success": lambda d: d["paths"]["/status"]["get"]["responses"].pop("200"),
        "no-failure": lambda d: d["paths"]["/status"]["get"]["responses"].pop("default"),
        "no-scheme": lambda d: d["components"].pop("securitySchemes"), "no-summary": lambda d: d["paths"]["/status"]["get"].pop("summary"),
    }
    for name, mistake in mistakes.items():
        document = shared_daemon.get("openapi.json")
        mistake(document)
        file = os.path.join(shared_daemon.dir, f"openapi-{name}.json")
        with open(file, "w") as f:
            json.dump(document, f)
        assert coapc.node("openapi.mjs", file, ok=1).stdout.startswith("OpenAPI "), name


def test_every_get_route_answers(site):
    """200 for what is there, 404 for what is not, JSON always; lists have their shape and page."""
    d = site.daemon
    site.nodes(2, sleep=3600)
    site.vendor.publish(5)
    u = d.wait_update(state="available", sequence=5)
    lib.wait_for(lambda: len(d.items("jobs")) == 2, "jobs", 20, [d])
    real = {"devices": d.items("devices")[0]["id"], "endpoints": d.items("endpoints")[0]["location"], "updates": u["id"],
            "rollouts": d.items("rollouts")[0]["id"], "jobs": d.items("jobs")[0]["id"]}
    paths = d.get("openapi.json")["paths"]
    assert len(paths) > 25
    for path, methods in paths.items():
        get = methods.get("get")
        if not get or path in ("/events", "/metrics"):
            continue
        noun = path.split("/")[1]
        if noun == "multicast":                 # not configured here
            assert "multicast.enabled" in d.api("/api/v1" + re.sub(r"\{\w+\}", "x", path))[1]["detail"], path
            continue
        if noun == "ble":                       # nor is this
            assert "ble.enabled" in d.api("/api/v1" + re.sub(r"\{\w+\}", "x", path))[1]["detail"], path
            continue
        if path == "/radios/{name}":            # no radio here: lo is none
            assert d.api("/api/v1/radios/lo")[0] == 404
            continue
        query = {"/why-not": f"?device={real['devices']}&update={u['id']}", "/audit/prove": f"?subject={u['id']}"}.get(path, "")
        status, body = d.api("/api/v1" + re.sub(r"\{\w+\}", lambda m: real[noun], path) + query)
        assert status == 200 and isinstance(body, dict), (path, status, body)
        if "{" in path:
            status, body = d.api("/api/v1" + re.sub(r"\{\w+\}", "no-such-thing", path))
            assert status == 404 and body["detail"] and body["status"] == 404, path
        if get["responses"]["200"]["content"].get("application/json", {}).get("schema", {}).get("$ref", "").endswith("List"):
            assert set(body) == {"items", "total", "next"} and body["total"] >= len(body["items"]), path
            every = d.items(path[1:])
            if len(every) > 1 and path != "/events/recent":      # that one begins with the last
                page = d.get(f"{path[1:]}?limit=1")
                assert len(page["items"]) == 1 and page["next"], path
                assert d.get(f"{path[1:]}?limit=1&after={page['next']}")["items"][0] != page["items"][0], path


SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$')


def metrics(text):
    """The exposition format, strictly: HELP and TYPE before the samples, one family in one block, no sample twice."""
    out, family, kinds = {}, None, {}
    assert text.endswith("\n")
    for line in text.splitlines():
        m = re.match(r"# (HELP|TYPE) (\S+) (.+)$", line)
        if m:
            if m[1] == "HELP":
                assert m[2] not in kinds, f"{m[2]} is in two blocks"
                family = m[2]
                kinds[family] = None
            else:
                assert m[2] == family and m[3] in ("counter", "gauge", "histogram", "summary"), line
                kinds[family] = m[3]
            continue
        m = SAMPLE.match(line)
        assert m and m[1] == family and kinds[family], line
        assert (m[1], m[2] or "") not in out, line
        out[m[1], m[2] or ""] = float(m[3])
        assert kinds[family] != "counter" or (m[1].endswith("_total") and float(m[3]) >= 0), line
    return out


def test_metrics_can_be_scraped(shared_daemon):
    d = shared_daemon
    status, headers, body = curl(f"http://{d.http}/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    first = metrics(body.replace("\r\n", "\n"))
    coapc.request(f"{d.coap}/.well-known/core")
    enrol(d, "metered")
    second = metrics(curl(f"http://{d.http}/metrics")[2].replace("\r\n", "\n"))
    assert second["dormouse_coap_requests_total", ""] > first["dormouse_coap_requests_total", ""]
    assert second["dormouse_http_requests_total", ""] > first["dormouse_http_requests_total", ""]
    assert second["dormouse_devices", ""] == first["dormouse_devices", ""] + 1
    assert second["dormouse_loop_max_microseconds", ""] > 0
    assert set(first) == set(second)
