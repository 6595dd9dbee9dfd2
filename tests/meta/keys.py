"""Every key of the configuration is read by somebody outside src/config: what can be set does something."""
import re

from common import finish, problem, read, sources, without_comments

# Macros of src/config/schema.c that name the field of a row.
FIELD = re.compile(r"\{ (?:T_\w+, \"\w+\", )?[BCSAPMGLW]_\((\w[\w.]*)\)")
ROWS_MIN = 40


def main():
    text = "\n".join(without_comments(read(name)) for name in sources(".c", ".h", ".cc") if not name.startswith("src/config/"))
    fields = FIELD.findall(read("src/config/schema.c"))
    for field in fields:
        if not re.search(r"(\.|->)" + field.replace(".", r"(\.|->)") + r"\b", text):
            problem(f"src/config/schema.c: {field}: nobody reads it")
    if len(fields) < ROWS_MIN:
        problem(f"src/config/schema.c: {len(fields)} rows found; do its macros have other names now?")
    finish(f"{len(fields)} keys of the configuration")


main()
