"""A custom resource with one of everything that a schema can say, for tests of the embedded API."""

from typing import Any

import yaml

from support.api_requests import Requests

Object = dict[str, Any]

WIDGETS: Object = yaml.safe_load("""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Mode, type: string, jsonPath: .spec.mode, priority: 1}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        description: A widget.
        required: [spec]
        properties:
          spec:
            type: object
            description: What is wanted.
            required: [size]
            properties:
              size: {type: integer, format: int32, minimum: 1, maximum: 10, description: How big.}
              mode: {type: string, enum: [A, B], default: A}
              name: {type: string, pattern: '^[a-z]+$', maxLength: 5, minLength: 2}
              port: {x-kubernetes-int-or-string: true}
              tags: {type: array, maxItems: 3, items: {type: string}, x-kubernetes-list-type: set}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [id]
                items:
                  type: object
                  required: [id]
                  properties: {id: {type: string}, count: {type: integer, default: 7}}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              when: {type: string, format: date-time}
              ratio: {type: number, multipleOf: 0.5}
              labels: {type: object, additionalProperties: {type: string}, maxProperties: 2}
              fixed:
                type: string
                x-kubernetes-validations: [{rule: self == oldSelf, message: is immutable}]
              low: {type: integer}
              high: {type: integer}
              empty: {type: string, nullable: true}
            x-kubernetes-validations:
            - rule: '!has(self.low) || !has(self.high) || self.low <= self.high'
              message: low must not be above high
              fieldPath: .low
              reason: FieldValueForbidden
            - rule: '!has(self.low) || self.low != 3'
              messageExpression: "'not ' + 'three'"
          status:
            type: object
            properties:
              observed: {type: integer}
              conditions:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [type]
                items:
                  type: object
                  required: [type, status]
                  properties: {type: {type: string}, status: {type: string}}
""")


def widget(name: str = "w", **spec: Any) -> Object:
    """Return a Widget; its size is 1 unless said otherwise."""
    meta = {"name": name}
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": meta, "spec": {"size": 1, **spec}}


def serve_widgets(requests: Requests) -> None:
    """Make the CRD, once for each server, and wait until it is served."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    reply = requests("POST", path, WIDGETS)
    assert reply.status in (201, 409), reply.body
    requests.until(200, "GET", "/apis/example.com/v1/widgets")
