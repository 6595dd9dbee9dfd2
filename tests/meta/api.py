"""The API's routes stand in dormouse-rest(7), and dormousectl reaches each; its commands and options stand in dormousectl(1)."""
import re

from common import finish, problem, read, sources


def routes():
    return re.findall(r'\{ HTTP_(\w+), "([^"]+)"', read("src/admin/api.c"))


def check_routes():
    manual = read("man/dormouse-rest.7")
    for method, path in routes():
        shown = re.sub(r"\{(\w+)\}", lambda m: m[1].upper(), path)
        if not re.search(rf"^\.It Ic {method} Pa (.* , )?{re.escape(shown)}( ,|$)", manual, re.M):
            problem(f"man/dormouse-rest.7: {method} {shown} is not there")


def check_verbs():
    """A verb names the noun of its route in a string: "devices", "updates/"."""
    text = "".join(read(name) for name in sources(".c", under="src/cli"))
    for method, path in routes():
        noun = path.split("/")[0]
        if not re.search(rf'"{noun}(["/?])', text):
            problem(f"src/cli: no verb asks for {path}")


def check_commands():
    manual = read("man/dormousectl.1")
    table = read("src/cli/main.c")
    rows = re.findall(r'\{ "([\w-]+)", ((?:"[^"]*"\s*)+),\s*"', table[table.index("cli_commands[]"):table.index("{ NULL }")])
    for name, usage in rows:
        if not re.search(rf"^\.It Cm {name}\b", manual, re.M):
            problem(f"man/dormousectl.1: {name} is not there")
        for option in re.findall(r"--([a-z][\w-]*)", usage):
            if f"Fl -{option}" not in manual:
                problem(f"man/dormousectl.1: --{option} of {name} is not there")
        first = re.match(r'"\[?((?:[a-z-]+(?: [A-Z]+| \[[^\]]*\])*(?: \| )?)+)', usage)
        for verb in re.findall(r"(?:^|\| )([a-z]+)", first[1] if first else ""):
            if not re.search(rf"^\.It Cm {name} .*\b{verb}\b", manual, re.M):
                problem(f"man/dormousectl.1: {name} {verb} is not there")
    return len(rows)


def main():
    check_routes()
    check_verbs()
    n = check_commands()
    if n < 15 or len(routes()) < 30:
        problem(f"{n} commands and {len(routes())} routes found; mend tests/meta/api.py")
    finish(f"{len(routes())} routes and {n} commands")


main()
