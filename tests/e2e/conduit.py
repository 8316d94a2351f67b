"""A publishing platform after the public RealWorld specification ("Conduit"): users, profiles, articles in Markdown, comments, tags.

Run as `python -m tests.e2e.conduit PORT`. A service like many: FastAPI, bearer tokens, its own validation errors, everything in memory.
"""

from __future__ import annotations

import re
import secrets
import sys
import time
from typing import Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from joserfc import jwt
from joserfc.jwk import OctKey

KEY = OctKey.import_key(secrets.token_bytes(32))
app = FastAPI(title="Conduit")
users: dict[str, dict[str, Any]] = {}
articles: dict[str, dict[str, Any]] = {}
comments: dict[str, list[dict[str, Any]]] = {}
follows: set[tuple[str, str]] = set()


def caller(authorization: str) -> str:
    try:
        claims = jwt.decode(authorization.removeprefix("Token ").removeprefix("Bearer "), KEY).claims
    except Exception:
        raise HTTPException(401, "missing authorization credentials") from None
    name = str(claims["sub"])
    if name not in users:
        raise HTTPException(401, "unknown user")
    return name


def user_view(name: str) -> dict[str, Any]:
    user = users[name]
    token = jwt.encode({"alg": "HS256"}, {"sub": name, "iat": int(time.time())}, KEY)
    return {"user": {"username": name, "email": user["email"], "bio": user["bio"], "image": user["image"], "token": token}}


def profile(name: str, viewer: str = "") -> dict[str, Any]:
    user = users[name]
    return {"username": name, "bio": user["bio"], "image": user["image"], "following": (viewer, name) in follows}


def view(slug: str, viewer: str = "") -> dict[str, Any]:
    article = articles[slug]
    return {
        **{key: article[key] for key in ("slug", "title", "description", "body", "tagList", "createdAt", "updatedAt")},
        "favorited": viewer in article["favorites"],
        "favoritesCount": len(article["favorites"]),
        "author": profile(article["author"], viewer),
    }


def known(slug: str) -> dict[str, Any]:
    if slug not in articles:
        raise HTTPException(404, "no such article")
    return articles[slug]


@app.exception_handler(HTTPException)
async def problem(request: Request, error: HTTPException) -> JSONResponse:
    return JSONResponse({"errors": {"body": [error.detail]}}, error.status_code)


@app.post("/api/users", status_code=201)
async def register(request: Request) -> dict[str, Any]:
    given = (await request.json())["user"]
    if given["username"] in users:
        raise HTTPException(422, "username has already been taken")
    users[given["username"]] = {"email": given["email"], "password": given["password"], "bio": None, "image": None}
    return user_view(given["username"])


@app.post("/api/users/login")
async def login(request: Request) -> dict[str, Any]:
    given = (await request.json())["user"]
    for name, user in users.items():
        if user["email"] == given["email"] and user["password"] == given["password"]:
            return user_view(name)
    raise HTTPException(403, "email or password is invalid")


@app.get("/api/user")
async def current(authorization: str = Header("")) -> dict[str, Any]:
    return user_view(caller(authorization))


@app.put("/api/user")
async def change(request: Request, authorization: str = Header("")) -> dict[str, Any]:
    name = caller(authorization)
    users[name].update({k: v for k, v in (await request.json())["user"].items() if k in ("email", "bio", "image", "password")})
    return user_view(name)


@app.get("/api/profiles/{name}")
async def get_profile(name: str, authorization: str = Header("")) -> dict[str, Any]:
    if name not in users:
        raise HTTPException(404, "no such profile")
    return {"profile": profile(name, caller(authorization) if authorization else "")}


@app.post("/api/profiles/{name}/follow")
async def follow(name: str, authorization: str = Header("")) -> dict[str, Any]:
    viewer = caller(authorization)
    follows.add((viewer, name))
    return {"profile": profile(name, viewer)}


@app.post("/api/articles", status_code=201)
async def publish(request: Request, authorization: str = Header("")) -> dict[str, Any]:
    author, given = caller(authorization), (await request.json())["article"]
    slug = re.sub(r"[^a-z0-9]+", "-", given["title"].lower()).strip("-") + "-" + secrets.token_hex(3)
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    articles[slug] = {
        "slug": slug,
        "tagList": [],
        **given,
        "createdAt": now,
        "updatedAt": now,
        "author": author,
        "favorites": set(),
    }
    comments[slug] = []
    return {"article": view(slug, author)}


@app.get("/api/articles")
async def search(
    tag: str = "", author: str = "", q: str = "", limit: int = 20, offset: int = 0, authorization: str = Header("")
) -> dict[str, Any]:
    viewer = caller(authorization) if authorization else ""
    found = [
        slug
        for slug, article in reversed(articles.items())
        if (not tag or tag in article["tagList"])
        and (not author or author == article["author"])
        and (not q or q.lower() in (article["title"] + article["body"]).lower())
    ]
    return {"articles": [view(slug, viewer) for slug in found[offset : offset + limit]], "articlesCount": len(found)}


@app.get("/api/articles/{slug}")
async def article(slug: str, authorization: str = Header("")) -> dict[str, Any]:
    known(slug)
    return {"article": view(slug, caller(authorization) if authorization else "")}


@app.put("/api/articles/{slug}")
async def edit(slug: str, request: Request, authorization: str = Header("")) -> dict[str, Any]:
    viewer = caller(authorization)
    if known(slug)["author"] != viewer:
        raise HTTPException(403, "not the author")
    articles[slug].update({k: v for k, v in (await request.json())["article"].items() if k in ("title", "description", "body")})
    return {"article": view(slug, viewer)}


@app.delete("/api/articles/{slug}", status_code=204)
async def remove(slug: str, authorization: str = Header("")) -> None:
    if known(slug)["author"] != caller(authorization):
        raise HTTPException(403, "not the author")
    del articles[slug]


@app.post("/api/articles/{slug}/favorite")
async def favorite(slug: str, authorization: str = Header("")) -> dict[str, Any]:
    viewer = caller(authorization)
    known(slug)["favorites"].add(viewer)
    return {"article": view(slug, viewer)}


@app.post("/api/articles/{slug}/comments")
async def comment(slug: str, request: Request, authorization: str = Header("")) -> dict[str, Any]:
    viewer = caller(authorization)
    known(slug)
    made = {"id": secrets.randbelow(10**9), "body": (await request.json())["comment"]["body"], "author": profile(viewer, viewer)}
    comments[slug].append(made)
    return {"comment": made}


@app.get("/api/articles/{slug}/comments")
async def all_comments(slug: str) -> dict[str, Any]:
    known(slug)
    return {"comments": comments[slug]}


@app.get("/api/tags")
async def tags() -> dict[str, Any]:
    return {"tags": sorted({tag for one in articles.values() for tag in one["tagList"]})}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", server_header=False)
