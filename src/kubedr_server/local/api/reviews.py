"""Questions about rights and identity: everyone who may ask is the administrator, so all are allowed."""

from typing import Any

_AUTHORIZATION = "/apis/authorization.k8s.io/v1/"
REVIEWS: dict[str, str] = {
    _AUTHORIZATION + "selfsubjectaccessreviews": "access",
    _AUTHORIZATION + "subjectaccessreviews": "access",
    _AUTHORIZATION + "selfsubjectrulesreviews": "rules",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews": "self",
}

_EVERYTHING = {
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    "incomplete": False,
}


def answer_review(kind: str, review: dict[str, Any]) -> dict[str, Any]:
    """Return the review with its answer as status."""
    answers: dict[str, dict[str, Any]] = {
        "access": {"allowed": True, "reason": "local mode: every authenticated user is administrator"},
        "rules": _EVERYTHING,
        "self": {
            "userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]}
        },
    }
    return {"metadata": {}, "spec": {}} | review | {"status": answers[kind]}
