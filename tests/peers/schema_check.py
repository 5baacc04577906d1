"""Checks a JSON Schema, and configuration files against it. Prints one line of JSON.

    schema_check.py SCHEMA FOLDER SLIP     {"files": N, "errors": {file: [message]}, "slip": [message]}

Every .yaml file in FOLDER should fit; SLIP should not.
"""

import json
import pathlib
import sys

import yaml
from jsonschema import Draft202012Validator


def messages(validator, path):
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(given)]


def main():
    schema = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    found = {path.name: messages(validator, path) for path in pathlib.Path(sys.argv[2]).glob("*.yaml")}
    errors = {name: wrong for name, wrong in found.items() if wrong}
    print(json.dumps({"files": len(found), "errors": errors, "slip": messages(validator, pathlib.Path(sys.argv[3]))}))


main()
