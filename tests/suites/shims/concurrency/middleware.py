from optilock.http.middleware import ConflictMiddleware


class ConcurrencyMiddleware(ConflictMiddleware):
    def __init__(self, get_response=lambda request: None):
        super().__init__(get_response)
