"""A page of HTML that needs nothing but itself: no script, no other file.

Readable on a phone, in the dark and on paper. Its policy lets a browser load
nothing but the pictures inside.
"""

from collections.abc import Iterable

from alexnet_jax.studies.report.markup import Markup, tag

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# Two columns.
_ICON = (
  'data:image/svg+xml,%3Csvg xmlns=%22http:%2F%2Fwww.w3.org%2F2000%2Fsvg%22 '
  'viewBox=%220 0 16 16%22%3E%3Cpath fill=%22%230072b2%22 d=%22M2 2h5v12H2z'
  '%22%2F%3E%3Cpath fill=%22%23d55e00%22 d=%22M9 2h5v12H9z%22%2F%3E%3C%2F'
  'svg%3E'
)

STYLE = """
:root {
  color-scheme: light;
  --page: #fdfdfb; --ink: #1a1a1a; --muted: #63635e; --line: #e0dfd8;
  --head: #b9b8b0; --soft: #f4f3ee; --accent: #005f96; --mark: #b34700;
  --marked: #fdf3ea;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    color-scheme: dark;
    --page: #151618; --ink: #e8e8e4; --muted: #a2a29b; --line: #303236;
    --head: #54575d; --soft: #1e2023; --accent: #6cbdf0; --mark: #f2a35e;
    --marked: #2a221a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
    "Liberation Sans", sans-serif;
  overflow-wrap: break-word;
}
main { max-width: 50rem; margin: 0 auto; padding: 3.5rem 1.25rem 6rem; }
p, dl, ul { max-width: 40rem; margin: 0 0 1rem; }
h1, h2, h3 {
  line-height: 1.2; text-wrap: balance;
  font-family: Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia,
    "Liberation Serif", serif;
}
h1 { font-size: 2.4rem; font-weight: 600; margin: 0 0 .75rem;
  letter-spacing: -.01em; }
h2 { font-size: 1.6rem; font-weight: 600; margin: 0 0 1rem; }
h3 { font-size: 1.1rem; font-weight: 600; margin: 2.25rem 0 .75rem; }
a { color: var(--accent); text-underline-offset: .2em;
  text-decoration-thickness: 1px; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas,
  "Liberation Mono", monospace; font-size: .875em; }
.over { margin: 0 0 .75rem; color: var(--muted); font-size: .875rem; }
.lead { font-size: 1.2rem; line-height: 1.5; margin: 0 0 2rem; }
.aside { color: var(--muted); font-size: .875rem; }
section { margin-top: 4rem; padding-top: 1.5rem;
  border-top: 1px solid var(--line); }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap;
  gap: .25rem 1.25rem; max-width: none; margin: 2rem 0 0;
  font-size: .9375rem; }

.key { display: grid; gap: 1.25rem 2rem; max-width: none; margin: 0;
  grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); }
.key dt { color: var(--muted); font-size: .875rem; }
.key dd { margin: 0; font-size: 1.75rem; line-height: 1.25;
  font-variant-numeric: tabular-nums; letter-spacing: -.01em; }

dl:not(.key) > div { display: grid; grid-template-columns: 14rem 1fr;
  gap: 0 1rem; padding: .3rem 0; border-bottom: 1px solid var(--line); }
dl:not(.key) dt { color: var(--muted); }
dl:not(.key) dd { margin: 0; font-variant-numeric: tabular-nums;
  min-width: 0; overflow-wrap: anywhere; }

.scroll { overflow-x: auto; margin: 0 0 1rem; }
.scroll:focus-visible { outline: 2px solid var(--accent);
  outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem;
  line-height: 1.4; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: baseline;
  padding: .4rem 1.25rem .4rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 500; color: var(--muted); white-space: nowrap;
  font-size: .875rem; border-bottom-color: var(--head); }
th:last-child, td:last-child { padding-right: 0; }
th.number, td.number { text-align: right; white-space: nowrap; }
tr.differs td { background: var(--marked); }
tr.differs td:first-child { box-shadow: inset 3px 0 0 var(--mark);
  padding-left: .6rem; }
tr.differs .own { color: var(--mark); font-weight: 600; }
tr.group th { padding-top: 1.4rem; color: var(--ink); font-weight: 600;
  font-size: .9375rem; white-space: normal;
  border-bottom-color: var(--line); }
tbody:first-of-type tr.group th { padding-top: .7rem; }
.where { color: var(--muted); font-size: .8125rem; white-space: nowrap; }
.second { display: block; color: var(--muted); font-size: .8125rem;
  font-weight: 400; }
details { margin: 0 0 1rem; }
summary { cursor: pointer; color: var(--accent); margin-bottom: .5rem; }

figure { margin: 0 0 1.5rem; }
figure img { display: block; max-width: 100%; height: auto; }
figure.svg img { width: 40rem; }
figure.png img { width: 40rem; }
figcaption { color: var(--muted); font-size: .875rem; line-height: 1.5;
  max-width: 40rem; margin-top: .75rem; }
.note { border-left: 3px solid var(--mark); padding: .1rem 0 .1rem 1rem; }
.missing { background: var(--soft); border-radius: 6px;
  padding: .9rem 1.1rem; margin: 0 0 1rem; max-width: 40rem; }
.missing p { margin: 0; color: var(--muted); }
.missing pre { margin: .5rem 0 0; padding-bottom: .25rem;
  overflow-x: auto; }
footer { margin-top: 4rem; color: var(--muted); font-size: .875rem; }

@media (max-width: 34rem) {
  main { padding-top: 2rem; }
  h1 { font-size: 1.9rem; }
  h2 { font-size: 1.4rem; }
  .lead { font-size: 1.1rem; }
  section { margin-top: 3rem; }
  .key { grid-template-columns: repeat(3, 1fr); gap: 1rem; }
  .key dd { font-size: 1.375rem; }
  dl:not(.key) > div { grid-template-columns: auto 1fr; }
  dl:not(.key) dd { text-align: right; }
  nav ul { gap: .5rem 1.25rem; }
  table { font-size: .875rem; }
  th, td { padding-right: .875rem; }
  figure picture { display: block; margin: 0 -1rem; }
}
@media print {
  main { max-width: none; padding: 0; }
  nav { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 9pt; }
  tr, figure, .missing { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  section { margin-top: 1.5rem; }
}
"""


def document(title: str, body: Iterable[Markup]) -> str:
  """A whole page."""
  head = tag(
    'head',
    tag('meta', charset='utf-8'),
    tag('meta', http_equiv='Content-Security-Policy', content=_POLICY),
    tag('meta', name='viewport', content='width=device-width, initial-scale=1'),
    tag('meta', name='color-scheme', content='light dark'),
    tag('title', title),
    tag('link', rel='icon', href=_ICON),
    tag('style', Markup(STYLE)),
  )
  page = tag('html', head, tag('body', tag('main', body)), lang='en')
  return f'<!doctype html>\n{page}\n'


def section(place: str, *, title: str, body: Markup) -> Markup:
  """A part with its heading; #place leads to it."""
  return tag('section', tag('h2', title), body, id=place)


def contents(parts: Iterable[tuple[str, str]]) -> Markup:
  """Links to (place, title)."""
  links = [
    tag('li', tag('a', title, href=f'#{place}')) for place, title in parts
  ]
  return tag('nav', tag('ul', links), aria_label='Contents')


def key_figures(figures: Iterable[tuple[str, str]]) -> Markup:
  """(what, how much), large."""
  pairs = [
    tag('div', tag('dt', what), tag('dd', value)) for what, value in figures
  ]
  return tag('dl', pairs, kind='key')


def front(over: str, title: str, lead: str, *more: Markup) -> Markup:
  """The head of the page."""
  return tag(
    'header',
    tag('p', over, kind='over'),
    tag('h1', title),
    tag('p', lead, kind='lead'),
    *more,
  )
