"""Who may do what (OWASP API5:2023): what the function matrix of single operations (`Endpoint.users`) does not say. Scopes that all callers of an
operation bear; operations that nobody used before, judged by those beside and above them; a header that says which operation is meant.
"""
