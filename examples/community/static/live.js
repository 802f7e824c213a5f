// Turns the stream of news into events of this page, which attributes such as
// hx-trigger="news:unread from:body" wait for. The news hold ids only: what is to be seen,
// the page asks for.
(() => {
  "use strict";
  const tell = (name) => document.body.dispatchEvent(new CustomEvent(`news:${name}`));
  const hear = {
    ready: () => {
      tell("unread");
      const open = document.querySelector("[data-conversation]");
      if (open) tell(`conversation-${open.dataset.conversation}`);
    },
    message: ({ id, conversation }) => {
      tell("unread");
      tell(`message-${id}`);
      tell(`conversation-${conversation}`);
    },
    read: ({ conversation }) => {
      tell("unread");
      tell(`read-${conversation}`);
    },
    post: ({ group }) => {
      for (const link of document.querySelectorAll("[data-new-posts]")) {
        if (!link.dataset.newPosts || link.dataset.newPosts === group) link.hidden = false;
      }
    },
  };

  let stream = null;
  const close = () => {
    stream?.close();
    stream = null;
  };
  const open = () => {
    if (stream) return;
    stream = new EventSource("/live");
    for (const [kind, listener] of Object.entries(hear)) {
      stream.addEventListener(kind, (event) => listener(JSON.parse(event.data)));
    }
  };
  // A browser has few connections for a site: a page that nobody looks at holds none.
  const follow = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", follow);

  // With a keyboard, Enter sends and Shift+Enter begins a line.
  document.addEventListener("keydown", (event) => {
    const field = event.target;
    const sends = event.key === "Enter" && !event.shiftKey && !event.isComposing;
    if (sends && field.matches?.("[data-enter-sends]") && matchMedia("(pointer: fine)").matches) {
      event.preventDefault();
      if (field.value.trim()) field.form.requestSubmit();
    }
  });
})();
