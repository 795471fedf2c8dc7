"""Settings of Sphinx for the site: launch/docs.sh builds it.

The sources are the Markdown pages of the checkout, as they stand. Nothing is
fetched, neither when the site is built nor when it is read.
"""

import pathlib
import re

import sphinx.application

import alexnet_jax

ROOT = pathlib.Path(__file__).parents[2]

project = 'alexnet_jax'
version = release = alexnet_jax.__version__
root_doc = 'docs/index'
include_patterns = [
  '*.md', 'docs/*.md', 'docs/notebooks/*.md', 'launch/README.md',
  'alexnet_jax/bench/NOTES.md',
]  # fmt: skip
exclude_patterns = ['.*', '**/.*', 'runs', 'build', 'dist']
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']

myst_heading_anchors = 4  # those of GitHub
autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_typehints_format = 'short'
autodoc_type_aliases = {'Input': 'Input'}
napoleon_google_docstring = True
# Docstrings call a type by its name alone; many names are of other packages.
nitpicky = False

html_theme = 'furo'
html_title = f'alexnet_jax {version}'
html_static_path = ['static']
html_css_files = ['site.css']
templates_path = ['templates']
html_additional_pages = {'index': 'redirect.html'}
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_theme_options = {'source_edit_link': None, 'top_of_page_buttons': []}
highlight_language = 'none'
smartquotes = False  # --flags stay what they are

_PLACE = re.compile(r'`([\w/.]+\.py):([\w.]+)`')
_WALK = '```{rst-class} walk\n```\n'  # a class for the table that follows
_NAME = re.compile(r'(?<!`)`([^`\n]+)`(?!`)(?=(\w?))')
_HIDDEN = re.compile(
  r'(?ms)^```python jupyter=\{"source_hidden": true\}\n(.*?^```\n'
  r'(?:\n```text\n.*?^```\n)?)'
)


def _on_read(app: object, page: str, content: list[str]) -> None:
  """Adds the source to the walk; folds the solutions of the notebooks."""
  if page == 'docs/paper':
    classed = re.sub(r'<!-- §[\d.]+ -->', _WALK, content[0])
    parts = re.split(r'(?m)^(?=## )', classed)
    content[0] = ''.join(part + _sources(part) for part in parts)
  folded = (
    r'<details><summary>Solution</summary>\n\n```python\n\1\n</details>\n'
  )
  content[0] = _HIDDEN.sub(folded, content[0])


def _literals(*event: object) -> None:
  """Docstrings write `names` as Markdown does, with single backticks."""
  lines = event[-1]
  assert isinstance(lines, list)
  text = _NAME.sub(
    lambda m: f'``{m[1]}``' + '\\ ' * bool(m[2]), '\n'.join(lines)
  )
  lines[:] = text.split('\n')


def _sources(text: str) -> str:
  """The functions that a section names, each folded."""
  places = dict.fromkeys(_PLACE.findall(text))
  return ''.join(_source(file, name) for file, name in places)


def _source(file: str, name: str) -> str:
  folder = '' if file.startswith('configs/') else 'alexnet_jax/'
  return (
    f'\n<details class="source"><summary><code>{file}:{name}</code></summary>'
    f'\n\n```{{literalinclude}} /{folder}{file}\n:pyobject: {name}\n'
    ':language: python\n```\n\n</details>\n\n'
  )


def setup(app: sphinx.application.Sphinx) -> None:
  app.connect('source-read', _on_read)
  app.connect('autodoc-process-docstring', _literals)
