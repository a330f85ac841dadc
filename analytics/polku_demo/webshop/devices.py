"""What people look at the shop with: browsers, phones, the app, and robots that only look like people."""

import msgspec

from polku_demo.webshop.draw import Draw, Weighted


class Device(msgspec.Struct):
    """One browser or app of one or more people, with the anonymous id it keeps until somebody logs out."""

    kind: str  # desktop, mobile, tablet or app
    browser: str
    user_agent: str
    slow: float  # factor on load times
    anonymous_id: str
    knows: str | None = None  # the user whose login this device remembers
    seen: bool = False  # somebody was here under the anonymous id without being known
    first_user: str | None = None  # who first became known under it
    taken_over: bool = False  # and somebody else after that, because nobody logged out

    def renew(self, draw: Draw) -> None:
        """A new anonymous id, which has met nobody."""
        self.anonymous_id = draw.id()
        self.seen = False
        self.first_user = None
        self.taken_over = False


_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
_LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:138.0)"
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X)"
_IPAD = "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X)"
_PIXEL = "Mozilla/5.0 (Linux; Android 15; Pixel 9)"
_SAMSUNG = "Mozilla/5.0 (Linux; Android 12; SM-A127F)"
_BLINK = "AppleWebKit/537.36 (KHTML, like Gecko)"
_APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_CHROME = f"{_BLINK} Chrome/136.0.0.0"
_OLD = f"{_BLINK} SamsungBrowser/19.0 Chrome/102.0.5005.125"
_MOBILE = "Mobile/15E148 Safari/604.1"

# Kind, browser, user agent, slowness, weight. The old Samsung browser is the one that breaks at payment.
_MODELS = (
    ("desktop", "Chrome", f"{_WINDOWS} {_CHROME} Safari/537.36", 1.0, 20),
    ("desktop", "Edge", f"{_WINDOWS} {_CHROME} Safari/537.36 Edg/136.0.0.0", 1.0, 8),
    ("desktop", "Firefox", f"{_LINUX} Gecko/20100101 Firefox/138.0", 1.0, 5),
    ("desktop", "Safari", f"{_MAC} {_APPLE} Version/18.4 Safari/605.1.15", 0.9, 9),
    ("mobile", "Mobile Safari", f"{_IPHONE} {_APPLE} Version/18.4 {_MOBILE}", 1.3, 24),
    ("mobile", "Chrome Mobile", f"{_PIXEL} {_CHROME} Mobile Safari/537.36", 1.4, 18),
    ("mobile", "Samsung Internet", f"{_SAMSUNG} {_OLD} Mobile Safari/537.36", 2.6, 8),
    ("tablet", "Mobile Safari", f"{_IPAD} {_APPLE} Version/17.7 {_MOBILE}", 1.2, 6),
)
_APPS = (
    ("app", "App", "PolkuShop/3.2 (iPhone; iOS 18.4; Scale/3.00)", 0.7, 1),
    ("app", "App", "PolkuShop/3.2 (Linux; U; Android 15; Pixel 9)", 0.8, 1),
)
_MODEL = Weighted({model[:4]: float(model[4]) for model in _MODELS})
_APP = Weighted({model[:4]: float(model[4]) for model in _APPS})

BOTS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
)


def new_device(draw: Draw, *, app: bool = False) -> Device:
    """A device out of the box, known to nobody."""
    kind, browser, user_agent, slow = draw.weighted(_APP if app else _MODEL)
    return Device(kind, browser, user_agent, slow, draw.id())
