"""Middlewares that bind what a request says (`polku.context`), and track requests if they are asked to.

Each is a module that nothing else loads: `asgi` (Starlette, FastAPI, …), `wsgi` (Flask, …) and `django`. They share
`request`, which reads a request, and `exchange`, which follows one from its beginning to the end of its answer.
"""
