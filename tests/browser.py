"""Shows pages in Chromium, on screens of any size, driven through a pipe.

It speaks the DevTools protocol: JSON messages that end with a zero byte, on
file descriptors 3 and 4 of the browser.
"""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from typing import Any, NamedTuple

_NAMES = (
  'chromium',
  'chromium-browser',
  'google-chrome',
  'chrome-headless-shell',
)
_FLAGS = (
  '--headless',
  '--no-sandbox',  # which needs rights that a container may lack
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--no-first-run',
  '--hide-scrollbars',
  '--remote-debugging-pipe',
)


def find() -> str:
  """The path of a browser; '' if there is none."""
  return next(filter(None, map(shutil.which, _NAMES)), '')


class Shown(NamedTuple):
  """What Chromium made of a page.

  Attributes:
    picture: a PNG of the whole page.
    width: of the scrollable area, in pixels.
    messages: on the console, and violations of the page's policy.
    requests: addresses it asked for, other than data: ones.
  """

  picture: bytes
  width: int
  messages: list[str]
  requests: list[str]


class Browser:
  """Headless Chromium, as a context manager."""

  def __init__(self, program: str):
    self._profile = tempfile.TemporaryDirectory(
      prefix='alexnet_jax-chromium-', ignore_cleanup_errors=True
    )
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    self._process = subprocess.Popen(
      [
        *('bash', '-c', f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'),
        *(program, *_FLAGS, f'--user-data-dir={self._profile.name}'),
      ],
      pass_fds=(theirs_in, theirs_out),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in), os.close(theirs_out)
    self._out = os.fdopen(ours_out, 'wb', buffering=0)
    self._in, self._rest = ours_in, b''
    self._sent = 0
    self._events: list[dict[str, Any]] = []

  def __enter__(self) -> 'Browser':
    return self

  def __exit__(self, *error: object) -> None:
    self._out.close()  # it ends with the pipe
    try:
      self._process.wait(timeout=10)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    os.close(self._in)
    self._profile.cleanup()

  def show(
    self, page: pathlib.Path, *, width: int, height: int, dark: bool = False
  ) -> Shown:
    """Opens a file on a screen of that size."""
    target = self._ask('Target.createTarget', url='about:blank')['targetId']
    session = self._ask('Target.attachToTarget', targetId=target, flatten=True)[
      'sessionId'
    ]
    self._events.clear()

    def ask(method: str, **params: Any) -> dict[str, Any]:
      return self._ask(method, session=session, **params)

    for domain in ('Page', 'Runtime', 'Log', 'Network'):
      ask(f'{domain}.enable')
    scheme = {'name': 'prefers-color-scheme', 'value': _scheme(dark)}
    ask('Emulation.setEmulatedMedia', features=[scheme])
    ask(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 600,
    )
    ask('Page.navigate', url=page.absolute().as_uri())
    self._wait('Page.loadEventFired')
    scrolled = ask(
      'Runtime.evaluate', expression='document.documentElement.scrollWidth'
    )
    picture = ask('Page.captureScreenshot', captureBeyondViewport=True)
    shown = Shown(
      base64.b64decode(picture['data']),
      scrolled['result']['value'],
      list(self._messages()),
      list(self._requests()),
    )
    self._ask('Target.closeTarget', targetId=target)
    return shown

  def _messages(self) -> Any:
    for event in self._events:
      params = event.get('params', {})
      match event['method']:
        case 'Log.entryAdded':
          yield params['entry']['text']
        case 'Runtime.consoleAPICalled':
          yield str(params['args'])
        case 'Runtime.exceptionThrown':
          yield params['exceptionDetails']['text']

  def _requests(self) -> Any:
    for event in self._events:
      if event['method'] == 'Network.requestWillBeSent':
        url = event['params']['request']['url']
        if not url.startswith('data:'):
          yield url

  def _ask(self, method: str, *, session: str = '', **params: Any) -> Any:
    self._sent += 1
    message = {'id': self._sent, 'method': method, 'params': params}
    message |= {'sessionId': session} if session else {}
    self._out.write(json.dumps(message).encode() + b'\0')
    while True:
      answer = self._read()
      if answer.get('id') == self._sent:
        assert 'error' not in answer, answer
        return answer['result']
      self._events.append(answer)

  def _wait(self, method: str) -> None:
    while not any(event['method'] == method for event in self._events):
      self._events.append(self._read())

  def _read(self) -> dict[str, Any]:
    parts = [self._rest]
    while b'\0' not in parts[-1]:
      parts.append(os.read(self._in, 2**16))
      assert parts[-1], 'the browser has ended'
    message, _, self._rest = b''.join(parts).partition(b'\0')
    return json.loads(message)


def _scheme(dark: bool) -> str:
  return 'dark' if dark else 'light'
