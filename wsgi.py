"""The web half for any WSGI server: `gunicorn wsgi:app`, `waitress-serve wsgi:app`, mod_wsgi, IIS.

`GATEWAY_CONFIG` names the configuration. Deliveries need `gateway worker` beside it.
"""

from gateway import create_app
from gateway.serve import logging

logging.set_up("web")
app = create_app()
application = app
"""The name that mod_wsgi looks for."""
