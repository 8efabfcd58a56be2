"""How Entra ID's token endpoint refuses: its AADSTS numbers with status, OAuth 2.0 error and words.

Sources: learn.microsoft.com/entra/identity-platform/reference-error-codes,
.../v2-oauth2-client-creds-grant-flow#error-response and RFC 6749, section 5.2 (status, `error`);
github.com/Azure/azure-workload-identity/issues/616 (70021) and /1200 (700211, 700213);
github.com/MicrosoftDocs/azure-docs/issues/109083 (700229).
"""

_NOT_INSTALLED = (
    "This can happen if the application has not been installed by the administrator of the tenant or consented to by "
    "any user in the tenant."
)
_UNFEDERATED = (
    "No matching federated identity record found for presented assertion {claim} '{value}'. Check your federated "
    "identity credential Subject, Audience and Issuer against the presented assertion."
)
_WORDS = {
    50027: "JWT token is invalid or malformed.",
    70003: "The app requested an unsupported grant type '{grant_type}'.",
    70021: "No matching federated identity record found for presented assertion.",
    90002: "Tenant '{directory}' not found. Check to make sure you have the correct tenant ID and are signing into the "
           "correct cloud. Check with your subscription administrator, this may happen if there are no active "
           "subscriptions for the tenant.",
    500011: "The resource principal named {resource} was not found in the tenant named {directory}. " + _NOT_INSTALLED +
            " You might have sent your authentication request to the wrong tenant.",
    700016: "Application with identifier '{application}' was not found in the directory '{directory}'. " +
            _NOT_INSTALLED + " You may have sent your authentication request to the wrong tenant.",
    700021: "Client assertion application identifier doesn't match 'client_id' parameter.",
    700023: "Client assertion audience claim does not match Realm issuer. Review the documentation at https://"
            "docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .",
    700024: "Client assertion is not within its valid time range.",
    700027: "Client assertion failed signature validation.",
    700211: _UNFEDERATED,
    700212: _UNFEDERATED,
    700213: _UNFEDERATED,
    700229: "Forbidden token type. Only app-only tokens may be used as Federated Identity Credentials for AAD issuer.",
    900144: "The request body must contain the following parameter: '{parameter}'.",
    1002012: "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with "
             "/.default suffixed to the resource identifier (application ID URI).",
    7000215: "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
             "not the client secret ID, for a secret added to app '{application}'.",
    7000218: "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    7000222: "The provided client secret keys for app '{application}' are expired. Visit the Azure portal to create "
             "new keys for your app, or consider using certificate credentials for added security.",
}  # fmt: skip
# The errors of those that are a 400; the others are a 401, invalid_client.
_BAD_REQUESTS = {
    50027: "invalid_request", 70003: "unsupported_grant_type", 70021: "invalid_request", 90002: "invalid_request",
    500011: "invalid_resource", 700016: "unauthorized_client", 900144: "invalid_request", 1002012: "invalid_scope",
}  # fmt: skip


class Refused(Exception):  # noqa: N818 - reads better where it is raised
    """An answer of the token endpoint that gives no token, by its AADSTS number."""

    def __init__(self, code: int, text: str = "", **named: str) -> None:
        """`text` stands in the place of the usual words, in which `named` fills what is open."""
        self.code = code
        self.status = 400 if code in _BAD_REQUESTS else 401
        self.error = _BAD_REQUESTS.get(code, "invalid_client")
        self.text = text or _WORDS[code].format(**named)
