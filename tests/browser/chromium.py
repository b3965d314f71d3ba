"""A page in headless Chromium, driven by the DevTools protocol over a pipe."""
import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find():
    """The path of Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page. Its errors and requests since the last open() are in `errors` and `requests`."""

    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read_commands, self.commands = os.pipe()
        self.events, write_events = os.pipe()

        def connect():  # Chromium reads from 3 and writes to 4
            os.dup2(read_commands, 10)
            os.dup2(write_events, 11)
            os.dup2(10, 3)
            os.dup2(11, 4)

        options = ["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--mute-audio",
                   "--no-sandbox", "--disable-dev-shm-usage", "--user-data-dir=" + self.profile.name]
        self.process = subprocess.Popen([program, *options, "about:blank"], preexec_fn=connect,
                                        close_fds=False, start_new_session=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(read_commands)
        os.close(write_events)
        self.buffer = b""
        self.number = 0
        self.session = None
        self.loaded = False
        self.errors, self.requests = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(domain + ".enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.commands)  # Chromium then ends
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.events)
        self.profile.cleanup()

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def receive(self):
        while b"\0" not in self.buffer:
            data = os.read(self.events, 1 << 20)
            if not data:
                raise RuntimeError("Chromium has ended")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\0", 1)
        event = json.loads(line)
        self.note(event.get("method", ""), event.get("params", {}))
        return event

    def note(self, method, params):
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith("data:"):
            self.requests.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded = True

    def open(self, path):
        """Opens a file. Returns the seconds until it is loaded and laid out."""
        self.errors, self.requests, self.loaded = [], [], False
        start = time.monotonic()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.loaded:
            self.receive()
        self.call("DOM.getDocument")
        self.call("Page.getLayoutMetrics")
        return time.monotonic() - start

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def set_width(self, width, height=900):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)

    def set_theme(self, theme, media=""):
        self.call("Emulation.setEmulatedMedia", media=media,
                  features=[{"name": "prefers-color-scheme", "value": theme}])

    def set_scripts(self, on):
        self.call("Emulation.setScriptExecutionDisabled", value=not on)

    def mouse(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def tap(self, x, y):
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def boxes(self, selector):
        """The sizes of the elements, without a script."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        nodes = self.call("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"]
        models = [self.call("DOM.getBoxModel", nodeId=node)["model"] for node in nodes]
        return [(model["width"], model["height"]) for model in models]

    def screenshot(self, path):
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def print_to(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))


def contrast():
    """A script for evaluate(): the texts whose contrast is too low for WCAG AA."""
    return (pathlib.Path(__file__).resolve().parent / "contrast.js").read_text("utf-8")
