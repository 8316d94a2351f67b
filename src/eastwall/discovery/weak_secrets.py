"""HMAC secrets that tutorials, templates and haste have put into the world. Written by hand from documentation of public frameworks."""

from __future__ import annotations

_FIRST = "secret your-256-bit-secret your_jwt_secret changeme password key jwt_secret test 123456 my-secret-key supersecret"
_COMMON = """
secretkey secret_key secret-key secretKey SECRET SECRET_KEY SecretKey mysecret my_secret my-secret mysecretkey my_secret_key mySecretKey
my-32-character-ultra-secure-and-ultra-long-secret your-384-bit-secret your-512-bit-secret your-secret your_secret your-secret-key your_secret_key
yoursecret your-jwt-secret your-super-secret-jwt-token-with-at-least-32-characters-long super-secret super_secret supersecretkey super-secret-key
super_secret_key topsecret top-secret top_secret verysecret very-secret very_secret verysecretkey jwtsecret jwt-secret jwtSecret JWT_SECRET
jwt-secret-key jwt_secret_key jwtsecretkey jwtkey jwt_key jwt-key jwt token tokensecret token-secret token_secret signingkey signing-key signing_key
hmackey hmac-key hs256 HS256 hs256-secret hmac secretsecret secret123 secret1 secret12 secret1234 secret12345 s3cr3t s3cret S3cr3t s3cr3tk3y
password1 password123 Password1 Password123 passw0rd p@ssw0rd P@ssw0rd pass passwd passphrase admin admin123 administrator root toor guest user demo
example sample default changeit change_me change-me changethis change-this-secret change_this_secret please-change-me pleasechangeme replaceme
replace-me todo fixme dev development devsecret dev-secret dev_secret development-secret local localhost staging production prod production-secret
testing test123 testsecret test-secret test_secret testkey test-key test_key testtest foo bar foobar baz qwerty qwerty123 asdf asdfgh zxcvbn letmein
welcome iloveyou monkey dragon abc abc123 abcd1234 abcdef a b x xxx 1 12 123 1234 12345 1234567 12345678 123456789 1234567890 0123456789
0123456789abcdef 0123456789abcdef0123456789abcdef 00000000 00000000000000000000000000000000 11111111 aaaaaaaa abcdefghijklmnop
abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz123456 keyboard-cat keyboard_cat keyboardcat shhhhh shhhhhhh shh shhh shhhhhhared-secret
shared-secret shared_secret sharedsecret thisisasecret this-is-a-secret this_is_a_secret thisismysecret this-is-my-secret thisisasecretkey
this-is-a-secret-key thisismysecretkey mysupersecret mysupersecretkey my-super-secret my-super-secret-key my_super_secret_key ilovejwt none null
undefined None false true string hello helloworld hello-world app appsecret app-secret app_secret application appkey app-key APP_SECRET APP_KEY api
apikey api-key api_key apisecret api-secret api_secret auth authsecret auth-secret auth_secret authkey session sessionsecret session-secret cookie
cookie-secret laravel django flask fastapi express nodejs node spring springboot rails symfony nestjs next nextauth next-auth-secret hasura
django-insecure insecure insecure-secret insecure-key not-a-secret notasecret not_so_secret notsosecret confidential private privatekey private-key
private_key public publickey hidden master masterkey master-key god love access access-secret access_secret access-token-secret refresh
refresh-secret refresh_secret refresh-token-secret ACCESS_TOKEN_SECRET REFRESH_TOKEN_SECRET server client clientsecret client-secret client_secret
gateway backend frontend company acme shop mykey my-key my_key myKey yourkey your-key your_key somekey some-key some-secret some_secret anykey
any-secret random randomstring random-string random_string longsecret long-secret a-very-long-secret averylongsecretkey strongsecret strong-secret
bezKoderSecretKey tymon zerotohero JSONWebTokenSecret jsonwebtoken jsonwebtokensecret json-web-token
"""

FIRST: tuple[bytes, ...] = (b"", *(word.encode() for word in _FIRST.split()))
"""The likeliest, the empty one among them: tried with every new token."""
COMMON: tuple[bytes, ...] = tuple(dict.fromkeys(word.encode() for word in _COMMON.split()))
