"""The built site: links, no request that leaves the machine, no error.

Sphinx is not among the packages of the tests: .ci/run builds the site with
launch/docs.sh and names its folder in ALEXNET_JAX_SITE.
"""

import functools
import html.parser
import os
import pathlib
import re
import urllib.parse

import pytest

from tests import browser

SITE = pathlib.Path(os.environ.get('ALEXNET_JAX_SITE', ''))
pytestmark = pytest.mark.skipif(
  'ALEXNET_JAX_SITE' not in os.environ,
  reason='ALEXNET_JAX_SITE names no site: launch/docs.sh --build makes one',
)
SHOWN = ('index', 'paper', 'configs', 'api', 'notebooks/2_ops')


class _Page(html.parser.HTMLParser):
  """What a page refers to, what it loads, and the places in it."""

  def __init__(self):
    super().__init__()
    self.links, self.loads, self.places = set(), set(), set()

  def handle_starttag(self, tag, attrs):
    given = dict(attrs)
    self.places |= {given[key] for key in ('id', 'name') if given.get(key)}
    if tag == 'a' and given.get('href'):
      self.links.add(given['href'])
    elif tag == 'link' and given.get('href'):
      self.loads.add(given['href'])
    elif given.get('src'):
      self.loads.add(given['src'])


@functools.cache
def _read(path):
  page = _Page()
  page.feed(path.read_text())
  return page


def _pages():
  return sorted(SITE.rglob('*.html'))


def test_every_link_and_anchor_leads_somewhere():
  assert len(_pages()) > 25
  followed = 0
  for path in _pages():
    for target in _read(path).links | _read(path).loads:
      parts = urllib.parse.urlsplit(target)
      if parts.scheme in ('http', 'https', 'data', 'mailto'):
        continue
      name = urllib.parse.unquote(parts.path)
      other = path.parent / name if name else path
      assert other.exists(), f'{path}: {target}'
      if parts.fragment and other.suffix == '.html':
        places = _read(other.resolve()).places
        assert urllib.parse.unquote(parts.fragment) in places, (path, target)
      followed += 1
  assert followed > 1000


def test_pages_and_their_styles_load_nothing_from_elsewhere():
  for path in _pages():
    outside = [u for u in _read(path).loads if re.match(r'(\w+:)?//', u)]
    assert not outside, f'{path} loads {outside}'
  for path in SITE.rglob('*.css'):
    text = path.read_text()
    assert not re.search(r'(@import|url\()\W*(https?:)?//', text), path


@pytest.mark.skipif(not browser.find(), reason='no browser')
@pytest.mark.parametrize('width', [390, 1280])
def test_pages_open_without_an_error_or_a_request_elsewhere(width):
  with browser.Browser(browser.find()) as opened:
    for name in SHOWN:
      page = SITE / 'docs' / f'{name}.html'
      shown = opened.show(page, width=width, height=900)
      assert shown.messages == [], name
      asked = [u for u in shown.requests if not u.startswith('file:')]
      assert asked == [], name
      assert len(shown.requests) > 5, name
      assert shown.width <= width, name
