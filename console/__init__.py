"""The console: web pages for the people around the prices. ``fairtag console RUN`` starts it.

It asks an endpoint for pages over HTTP, as a shop does, and reads a run's folders through ``fairtag``. It imports
neither ``serving`` nor ``monitoring``; what only the command line can do (promote, roll back) is handed in as
:class:`console.work.Deployment`.

A page is one module and one template. To add one:

1. ``console/pages/NAME.py`` ends with ``PAGE = Page("NAME", "/NAME", "Title", "what for, in a line", show, actions)``.
   ``show`` is ``async def show(visit: Visit) -> Response`` and answers ``visit.render("NAME.html", ...)``.
2. ``console/templates/NAME.html`` extends ``base.html`` and fills the block ``main``. No inline script or style: the
   content security policy forbids them. Drawings are SVG with classes; a bar's width is an SVG attribute.
3. Add the module to ``PAGES`` in ``console/pages/__init__.py``; that makes its route, its place in the menu, and its
   entry in the test that walks every page.

An action is ``Action("pin", Role.MERCHANDISER, pin)``: a POST to ``/NAME/pin``. The frame checks the session, the role
and the CSRF token before it calls ``pin(visit)``, and writes who did what to the audit log afterwards. Its form is
``{{ form("pin") }} ... </form>``; with ``swap="#id"`` (``data-swap`` on a GET form or a link) ``console.js`` exchanges
that element alone, and without scripts the same form loads the whole page. Blocking work (a model, a Parquet file) goes
through ``await visit.blocking(function, ...)``. What pages share is in :class:`console.work.Work`: the endpoint, the
shop's tables, the model, the quote log, documents of the run, the live policy.
"""
