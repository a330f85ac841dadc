"""The catalogue of a tracking plan: a page and a Markdown file that people read who do not read YAML."""

from polku_schemas.catalogue.data import Catalogue, catalogue_of
from polku_schemas.catalogue.html import render_html
from polku_schemas.catalogue.markdown import render_markdown

__all__ = ["Catalogue", "catalogue_of", "render_html", "render_markdown"]
