/* A long list in pages: made as the reader comes near, emptied again far away, so that memory stays flat. */
"use strict";
(function (P) {
  const NEAR = "1500px 0px";
  const FAR = "5000px 0px";

  /**
   * `fill(page, from, to)` puts the entries into a page; `spare(page, height)` leaves an empty page of that height;
   * `sign(from, to)` is a text that changes when a page's entries do: a page of the same text is left alone.
   */
  P.Pages = class {
    constructor({ scroller, holder, tag, fill, spare, sign }) {
      Object.assign(this, { scroller, holder, tag, fill, spare, sign, pages: [], count: 0, size: 200 });
      this.end = P.make("div", { class: "pages-end", "aria-hidden": "true" });
      holder.after(this.end);
      this.more = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && this.add(), {
        root: scroller,
        rootMargin: NEAR,
      });
      this.watch = new IntersectionObserver((seen) => seen.forEach((one) => this.turn(one)), {
        root: scroller,
        rootMargin: FAR,
      });
    }

    /** Shows a list of `count` entries from its beginning. */
    start(count, size) {
      this.watch.disconnect();
      this.more.disconnect();
      for (const page of this.pages) page.remove();
      this.pages = [];
      this.count = count;
      this.size = size;
      this.add();
    }

    /** The same list with another length or other entries: pages that stand are drawn anew, in place. */
    renew(count) {
      this.count = count;
      const wanted = Math.ceil(count / this.size);
      for (const page of this.pages.splice(wanted)) {
        this.watch.unobserve(page);
        page.remove();
      }
      for (const page of this.pages) if (page.filled) this.draw(page);
      if (!this.pages.length) this.add();
      else this.look();
    }

    draw(page) {
      const from = page.number * this.size;
      const to = Math.min(this.count, from + this.size);
      const sign = this.sign(from, to);
      if (page.filled && page.sign === sign) return;
      Object.assign(page, { filled: true, sign });
      page.style.minHeight = "";
      const focused = page.contains(document.activeElement) ? document.activeElement.dataset.n : undefined;
      this.fill(page, from, to);
      const again = focused === undefined ? null : page.querySelector(`.pic[data-n="${focused}"]`);
      if (again && again !== document.activeElement) again.focus({ preventScroll: true });
    }

    add(empty) {
      const number = this.pages.length;
      if (number * this.size >= this.count) return false;
      const page = P.make(this.tag, { class: "page" });
      page.number = number;
      this.pages.push(page);
      this.holder.append(page);
      if (empty) this.empty(page, empty);
      else this.draw(page);
      this.watch.observe(page);
      this.look();
      return true;
    }

    // An observer tells of changes only: after each new page it is asked afresh.
    look() {
      this.more.unobserve(this.end);
      if (this.pages.length * this.size < this.count) this.more.observe(this.end);
    }

    empty(page, height) {
      page.filled = false;
      this.spare(page, height);
    }

    turn(one) {
      const page = one.target;
      if (one.isIntersecting && !page.filled) this.draw(page);
      else if (!one.isIntersecting && page.filled && !page.contains(document.activeElement)) {
        const height = one.boundingClientRect.height;
        if (height > 0) this.empty(page, height);
      }
    }

    /** The page that holds an entry, filled. */
    reveal(entry) {
      const wanted = Math.floor(entry / this.size);
      const height = this.pages.length ? this.pages[0].getBoundingClientRect().height : 1000;
      while (this.pages.length < wanted && this.add(Math.max(1, height)));
      while (this.pages.length <= wanted && this.add());
      const page = this.pages[wanted];
      if (page && !page.filled) this.draw(page);
      return page;
    }
  };
})((window.Pipeline = window.Pipeline || {}));
