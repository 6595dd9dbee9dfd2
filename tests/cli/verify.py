"""dormousectl verify gives every SUIT vector its verdict as exit status: 0 accepted, 3 rejected, 4 not decodable, 5 could not
decide. Arguments: dormousectl, the folder tests/vectors/suit. Requirements: SU-1 to SU-10, SU-14, SU-16, SU-51."""
import json
import os
import subprocess
import sys
import tempfile

CTL, VECTORS = (os.path.abspath(a) for a in sys.argv[1:3])
KEYS = os.path.join(VECTORS, "keys")
AUTHOR, DISTRIBUTOR = os.path.join(KEYS, "author-p256-pub.pem"), os.path.join(KEYS, "distributor-p256-pub.pem")
MAC = open(os.path.join(KEYS, "mac-key-hmac256.hex")).read().strip()
failures = []

# file, options, exit status
CASES = [
    ("libcsuit/exp0.cbor", [], 0), ("libcsuit/exp2B.cbor", [], 0), ("libcsuit/exp4.cbor", [], 0),
    ("libcsuit/expED.cbor", [], 0), ("libcsuit/expS0.cbor", [], 0), ("libcsuit/expS2.cbor", [], 0), ("libcsuit/expU1.cbor", [], 0),
    ("libcsuit/expAF.cbor", ["--mac-key", MAC], 0), ("libcsuit/expAW.cbor", ["--mac-key", MAC], 0),
    ("libcsuit/expAF.cbor", [], 3), ("libcsuit/expAF.cbor", ["--mac-key", "62" * 32], 3),
    ("libcsuit/expU.cbor", [], 4), ("libcsuit/expU.cbor", ["--allow-untagged"], 0),              # SU-1
    ("libcsuit/expU2.cbor", [], 0), ("libcsuit/expU2.cbor", ["--at", "2016-01-01T00:00:00Z"], 0),  # SU-51: advice without a time
    ("libcsuit/expU2.cbor", ["--at", "2026-01-01T00:00:00Z"], 3),
    ("manifest-spec/example0-signed.hex", [], 0), ("manifest-spec/example2-signed-full.hex", [], 0),
    ("manifest-spec/example4-signed.hex", [], 0),
    ("manifest-spec/example0-unsigned.hex", [], 3), ("manifest-spec/example4-unsigned.hex", [], 3),  # SU-7
    ("trust-domains/example0_dependent.hex", [], 0), ("trust-domains/example1_process.hex", [], 0),
    ("firmware-encryption/aes-kw-content.hex", ["--mac-key", MAC], 0),
    ("firmware-encryption/es-ecdh-dependency.hex", [], 3),                                         # SU-41: signed by another
]


def check(what, ok, detail=""):
    if not ok:
        failures.append(what)
        print("FAILED", what, detail)


def judge(file, *options, anchors=AUTHOR):
    p = subprocess.run([CTL, "verify", file, "--anchors", anchors, *options], capture_output=True, text=True)
    return p.returncode, p.stdout + p.stderr


def vectors():
    for name, options, want in CASES:
        got, text = judge(os.path.join(VECTORS, name), *options)
        check(f"{name} {' '.join(options)}", got == want, f"exit {got}, not {want}\n{text}")
    name = os.path.join(VECTORS, "firmware-encryption/es-ecdh-dependency.hex")
    check("the distributor's envelope, by its key", judge(name, anchors=DISTRIBUTOR)[0] == 0)
    check("every key of a folder, the HMAC key as .hex among them",
          all(judge(os.path.join(VECTORS, n), anchors=KEYS)[0] == 0 for n in ("libcsuit/expAF.cbor", "libcsuit/exp0.cbor")))


def negatives(folder):
    for t in json.load(open(os.path.join(VECTORS, "derived-negative.json")))["tests"]:
        path = os.path.join(folder, t["name"] + ".suit")
        open(path, "wb").write(bytes.fromhex(t["hex"]))
        got, text = judge(path)
        in_block = t["name"] == "dup-alg-in-protected"         # the envelope around it is fine
        want = (4,) if t["stage"] == "cbor" and not in_block else (3, 4)
        check(f"derived-negative {t['name']} ({t['stage']})", got in want, f"exit {got}\n{text}")
        check(f"{t['name']} says why", "fail" in text or "dormousectl:" in text, text)


def narrowed(folder):
    """NAME.json beside an anchor says for whom it may sign; --device asks whether an update is for this device."""
    anchors = os.path.join(folder, "anchors")
    os.mkdir(anchors)
    open(os.path.join(anchors, "a.pem"), "w").write(open(AUTHOR).read())
    exp0, exp_s0 = os.path.join(VECTORS, "libcsuit/exp0.cbor"), os.path.join(VECTORS, "libcsuit/expS0.cbor")

    def narrow(**facts):
        json.dump(facts, open(os.path.join(anchors, "a.json"), "w"))

    narrow(vendor_ids=["fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe"])
    check("its own vendor", judge(exp0, anchors=anchors)[0] == 0)
    check("SU-14: not for nobody in particular", judge(exp_s0, anchors=anchors)[0] == 3)
    narrow(vendor_ids=["any"], allow_unidentified=True)
    check("SU-14: but where its anchor is exempt", judge(exp_s0, anchors=anchors)[0] == 0)
    narrow(vendor_ids=["00000000-0000-5000-8000-000000000000"])
    check("RV-19: not another vendor", judge(exp0, anchors=anchors)[0] == 3)
    narrow(vendor_ids="any")
    check("a wrong NAME.json is told", judge(exp0, anchors=anchors)[0] == 1)
    os.unlink(os.path.join(anchors, "a.json"))

    device = os.path.join(folder, "device.json")
    right = {"vendor_id": "fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe", "class_id": "1492af14-2569-5e48-bf42-9b2d51f2ab45"}
    for facts, want in ((right, 0), (right | {"class_id": right["vendor_id"]}, 3), (right | {"sequence": 7}, 3), ({"class_id": "x"}, 1)):
        json.dump(facts, open(device, "w"))
        check(f"device {facts}", judge(exp0, "--device", device)[0] == want)


def usage(folder):
    exp0 = os.path.join(VECTORS, "libcsuit/exp0.cbor")
    p = subprocess.run([CTL, "verify", exp0, "--anchors", AUTHOR, "--json"], capture_output=True, text=True)
    v = json.loads(p.stdout)
    check("--json is the verdict", v["outcome"] == "accepted" and any(r["id"] == "SU-4" for r in v["rules"]))
    check("nobody trusted: rejected", subprocess.run([CTL, "verify", exp0], capture_output=True).returncode == 3)
    check("no file: usage", subprocess.run([CTL, "verify"], capture_output=True).returncode == 2)
    check("no such file: 1", judge(os.path.join(folder, "none"))[0] == 1)
    p = subprocess.run([CTL, "verify", "-", "--anchors", AUTHOR], stdin=open(exp0, "rb"), capture_output=True)
    check("standard input", p.returncode == 0)
    data = open(exp0, "rb").read()
    for n in range(0, len(data)):
        path = os.path.join(folder, "cut")
        open(path, "wb").write(data[:n])
        got = judge(path)[0] if n % 16 == 0 or n > len(data) - 8 else 4
        check(f"cut to {n} bytes", got == 4, f"exit {got}")


with tempfile.TemporaryDirectory() as d:
    vectors()
    negatives(d)
    narrowed(d)
    usage(d)
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
