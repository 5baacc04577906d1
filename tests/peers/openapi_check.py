"""Checks an OpenAPI document, or answers against what the document says of them. Prints one line of JSON.

    openapi_check.py DOCUMENT
    openapi_check.py --samples FILE     {"document": …, "samples": [[method, path, status, answer], …]}
"""

import argparse
import json

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator


def check_document(document):
    errors = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    return {"errors": errors, "paths": len(document["paths"])}


def schema_of(document, method, path, status):
    responses = document["paths"][path][method]["responses"]
    content = responses.get(str(status), responses.get("default"))["content"]
    kind = next(kind for kind in content if kind.endswith("json"))
    # References begin at the document's root, which is the schema's own here.
    return {**content[kind]["schema"], "components": document["components"]}


def check_samples(document, samples):
    errors = []
    for method, path, status, answer in samples:
        validator = OAS31Validator(schema_of(document, method, path, status))
        errors += [f"{method} {path} {status}: {error.message}" for error in validator.iter_errors(answer)]
    return {"errors": errors, "checked": len(samples)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", action="store_true")
    parser.add_argument("file")
    arguments = parser.parse_args()
    with open(arguments.file, encoding="utf-8") as file:
        given = json.load(file)
    print(json.dumps(check_samples(**given) if arguments.samples else check_document(given)))


main()
