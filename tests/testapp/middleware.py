from __future__ import annotations

#: As strict as Django's own browser tests of the admin: nothing inline.
POLICY = "; ".join(
    [
        "default-src 'none'",
        *(
            f"{what} 'self'"
            for what in ("connect-src", "font-src", "form-action", "frame-ancestors")
        ),
        *(f"{what} 'self'" for what in ("img-src", "script-src", "style-src")),
        "base-uri 'none'",
    ]
)


def strict_policy(get_response):
    """Send a Content Security Policy with each page."""

    def respond(request):
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return respond
