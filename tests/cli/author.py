"""dormousectl author makes what dormousectl verify accepts: every kind of key, every shape of envelope, chains by openssl.
Argument: dormousectl. Requirements: SU-16, SU-17, SU-18, SU-19, CO-14."""
import json
import os
import subprocess
import sys
import tempfile
import uuid

CTL = os.path.abspath(sys.argv[1])
failures = []


def check(what, ok, detail=""):
    if not ok:
        failures.append(what)
        print("FAILED", what, detail)


def ctl(*args, want=0):
    p = subprocess.run([CTL, *[str(a) for a in args]], capture_output=True, text=True)
    check(" ".join(str(a) for a in args), p.returncode == want, f"exit {p.returncode}, not {want}\n{p.stdout}{p.stderr}")
    return p.stdout


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def sign(out, *more, key=None, want=0):
    who = ["--key", key] if key else []
    ctl("author", "sign", *who, "--vendor", "vendor.example", "--class", "lamp", "--sequence", 7, *more, "-o", out, want=want)


def inspect(path):
    return json.loads(ctl("author", "inspect", path, "--json"))


def keys_and_shapes():
    for alg in ("p256", "p384", "ed25519"):
        key, pub = f"{alg}.pem", f"{alg}.pub"
        ctl("author", "keygen", "--alg", alg, "-o", key, "--public", pub)
        check("the private key is for its owner alone", os.stat(key).st_mode & 0o777 == 0o600)
        for shape in ([], ["--sever"], ["--version", "1.2.3", "--description", "größer", "--sever"], ["--use-before", "2100-01-01T00:00:00Z"]):
            sign("u.suit", "--image", "img", "--uri", "https://vendor.example/img", *shape, key=key)
            ctl("verify", "u.suit", "--anchors", pub)
            ctl("verify", "u.suit", "--anchors", pub, "--payload", "img")
            ctl("verify", "u.suit", "--anchors", pub, "--payload", "other", want=3)
        sign("i.suit", "--image", "img", "--integrated", key=key)
        ctl("verify", "i.suit", "--anchors", pub)
        check("integrated image is inside", inspect("i.suit")["images"][0]["integrated"])
    ctl("verify", "u.suit", "--anchors", "p256.pub", want=3)       # of another
    for alg, key in (("es256", "p256"), ("eddsa", "ed25519"), ("es384", "p384")):
        sign("a.suit", "--alg", alg, "--image", "img", "--uri", "https://vendor.example/img", key=f"{key}.pem")
        ctl("verify", "a.suit", "--anchors", f"{key}.pub")
    sign("a.suit", "--alg", "es384", "--image", "img", "--uri", "https://vendor.example/img", key="p256.pem", want=1)


def contents():
    sign("u.suit", "--image", "img", "--uri", "https://vendor.example/img", "--component", "slot/0x01", "--image", "other", "--integrated",
         "--component", "config", "--version", "2.0", key="p256.pem")
    e = inspect("u.suit")
    check("sequence", e["sequence"] == 7)
    check("two components", [c["id"] for c in e["components"]][0].startswith("slot/") and len(e["components"]) == 2, e)
    vendor = uuid.uuid5(uuid.NAMESPACE_DNS, "vendor.example")
    check("vendor and class by UUID5", e["components"][0]["vendor_ids"] == [str(vendor)] and
          e["components"][0]["class_ids"] == [str(uuid.uuid5(vendor, "lamp"))], e)
    check("version", e["version"] == "2.0")
    sign("l.suit", "--image", "img", "--uri", "https://192.0.2.1:8443/img", key="p256.pem")
    ctl("verify", "l.suit", "--anchors", "p256.pub")
    open("p256.json", "w").write('{"hosts": ["vendor.example"]}')  # beside p256.pub
    ctl("verify", "l.suit", "--anchors", "p256.pub", want=3)       # SU-22
    os.unlink("p256.json")
    for wrong in (["--uri", "https://x.example/a"], ["--image", "img"], ["--image", "img", "--uri", "u", "--integrated"],
                  ["--image", "none", "--integrated"]):
        p = subprocess.run([CTL, "author", "sign", "--key", "p256.pem", "--vendor", "v.example", "--class", "c", "--sequence", "1", *wrong, "-o",
                            "w.suit"], capture_output=True)
        check(f"refused: {wrong}", p.returncode in (1, 2) and not os.path.exists("w.suit"), p.stderr)


def mac():
    k = "000102030405060708090a0b0c0d0e0f" * 2
    ctl("author", "sign", "--mac-key", k, "--vendor", "v.example", "--class", "c", "--sequence", 1, "--image", "img", "--integrated", "-o", "m.suit")
    ctl("verify", "m.suit", "--mac-key", k)
    ctl("verify", "m.suit", "--mac-key", "ff" + k[2:], want=3)


def chain():
    """A certificate path: could not decide without revocation status, decided with a CRL, refused when revoked."""
    open("ca.cnf", "w").write("""[ca]
default_ca = d
[d]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = root.pem
private_key = root.key
default_md = sha256
default_days = 30
default_crl_days = 1
policy = any
[any]
commonName = supplied
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = codeSigning
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
crlDistributionPoints = URI:http://crl.vendor.example/root.crl
""")
    open("index.txt", "w").close()
    for name in ("serial", "crlnumber"):
        open(name, "w").write("01\n")
    for who in ("root", "leaf"):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{who}.key")
    openssl("req", "-x509", "-new", "-key", "root.key", "-out", "root.pem", "-days", "30", "-subj", "/CN=root", "-config", "ca.cnf", "-extensions", "root")
    openssl("req", "-new", "-key", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=leaf", "-config", "ca.cnf")
    openssl("ca", "-batch", "-notext", "-config", "ca.cnf", "-extensions", "leaf", "-in", "leaf.csr", "-out", "leaf.pem")
    openssl("ca", "-config", "ca.cnf", "-gencrl", "-out", "good.crl")
    openssl("crl", "-in", "good.crl", "-outform", "DER", "-out", "good.der")
    openssl("ca", "-batch", "-config", "ca.cnf", "-revoke", "leaf.pem")
    openssl("ca", "-config", "ca.cnf", "-gencrl", "-out", "bad.crl")
    sign("c.suit", "--chain", "leaf.pem", "--image", "img", "--uri", "https://vendor.example/img", key="leaf.key")
    text = ctl("verify", "c.suit", "--anchors", "root.pem", want=5)
    check("tells what it needs", "http://crl.vendor.example/root.crl" in text, text)
    ctl("verify", "c.suit", "--anchors", "root.pem", "--no-revocation")
    ctl("verify", "c.suit", "--anchors", "root.pem", "--crl", "good.crl")
    ctl("verify", "c.suit", "--anchors", "root.pem", "--crl", "good.der")
    ctl("verify", "c.suit", "--anchors", "root.pem", "--crl", "bad.crl", want=3)
    ctl("verify", "c.suit", "--anchors", "root.pem", "--crl", "good.crl", "--at", "2040-01-01T00:00:00Z", want=3)
    sign("x.suit", "--chain", "leaf.pem", "--image", "img", "--uri", "https://vendor.example/img", key="p256.pem", want=1)   # not its key


with tempfile.TemporaryDirectory() as d:
    os.chdir(d)
    open("img", "wb").write(os.urandom(3000))
    open("other", "wb").write(os.urandom(100))
    keys_and_shapes()
    contents()
    mac()
    chain()
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
