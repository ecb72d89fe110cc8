// Keeps what was typed, in this tab alone, until it is saved or discarded: a session
// may end, a token may be too old, a window may be left by mistake. Nothing is sent.
'use strict';
{
    const {isChanged, keepTokens} = globalThis.optilock;
    const said = document.currentScript.dataset;
    const secret = new Set((said.secret || '').split(' '));
    const place = `${said.user} ${window.location.pathname}`;
    const STORE = 'optilock-drafts';
    const SAVED = 'optilock_saved';
    const MOST = 20;
    const PRIVATE = new Set(
        ['hidden', 'password', 'file', 'submit', 'button', 'image', 'reset']
    );
    // What is chosen to run, or to decide, isn't what was typed.
    const OTHERS = /^(_selected_action|select_across|(.+-)?action|q)$|optilock_/;
    const ROW = /^(.+)-(\d+)-(.+)$/;

    // --- what is kept ---------------------------------------------------------

    const load = () => {
        try {
            return JSON.parse(sessionStorage.getItem(STORE)) || [];
        } catch {
            return []; // storage is switched off
        }
    };

    const store = (drafts) => {
        for (let left = drafts.slice(-MOST); ; left = left.slice(1)) {
            try {
                if (left.length) {
                    sessionStorage.setItem(STORE, JSON.stringify(left));
                } else {
                    sessionStorage.removeItem(STORE);
                }
                return;
            } catch {
                if (!left.length) {
                    return; // storage is switched off
                }
            }
        }
    };

    const drop = (id) => store(load().filter((draft) => draft.id !== id));

    /** Drop what the server says is saved; return whether there was any. */
    const dropSaved = () => {
        const cookie = document.cookie.match(`(?:^|; )${SAVED}=([^;]+)`);
        if (cookie) {
            const ids = cookie[1].split('.');
            store(load().filter((draft) => !ids.includes(draft.id)));
            document.cookie = `${SAVED}=; path=/; max-age=0; samesite=lax`;
        }
        return Boolean(cookie);
    };

    // --- one control ----------------------------------------------------------

    // Django's widget with two boxes: what is chosen is all that is in the second one.
    const isBox = (control) =>
        control.classList.contains('filtered') && control.id.endsWith('_to');

    const read = (control) => {
        if (control.type === 'checkbox' || control.type === 'radio') {
            return control.checked;
        }
        if (control.options) {
            const chosen = isBox(control) ? control.options : control.selectedOptions;
            return [...chosen].map((option) => [option.value, option.text]);
        }
        return control.value;
    };

    const fillBox = (control, chosen) => {
        const {SelectBox} = window;
        const from = control.id.replace(/_to$/, '_from');
        const wanted = new Set(chosen.map(([value]) => value));
        const move = (there, here, test) => {
            for (const one of SelectBox.cache[there].filter(test)) {
                SelectBox.add_to_cache(here, one);
                SelectBox.delete_from_cache(there, one.value);
            }
        };
        move(from, control.id, (one) => wanted.has(one.value));
        move(control.id, from, (one) => !wanted.has(one.value));
        SelectBox.redisplay(from);
        SelectBox.redisplay(control.id);
    };

    const write = (control, value) => {
        if (typeof value === 'boolean') {
            control.checked = value;
        } else if (isBox(control)) {
            fillBox(control, value);
        } else if (control.options) {
            const wanted = new Map(value);
            for (const option of control.options) {
                option.selected = wanted.delete(option.value);
            }
            for (const [key, text] of wanted) { // a list that is loaded when it is opened
                control.add(new Option(text, key, false, true));
            }
        } else {
            control.value = value;
        }
        for (const type of ['input', 'change']) {
            control.dispatchEvent(new Event(type, {bubbles: true}));
        }
    };

    // --- a form ---------------------------------------------------------------

    class Form {
        constructor(form) {
            this.form = form;
            this.opened = new Map(); // where the page itself doesn't know
            this.rows = new Map(); // what existing rows are called
            this.note(this.controls.filter(isBox));
        }

        note(controls) {
            for (const one of controls) {
                this.opened.set(one, JSON.stringify(read(one)));
            }
        }

        get controls() {
            return [...this.form.elements].filter((one) => {
                const last = one.name?.split('-').pop();
                return one.name && !PRIVATE.has(one.type) && !OTHERS.test(one.name) &&
                    !secret.has(last) && !secret.has(last.replace(/_\d+$/, '')) &&
                    !/password|cc-|one-time/.test(one.autocomplete) &&
                    !(one.classList.contains('filtered') && one.id.endsWith('_from')) &&
                    !one.name.includes('__prefix__');
            });
        }

        get tokens() {
            return [...this.form.elements].filter(
                (one) => one.type === 'hidden' && one.name.endsWith('optilock_token')
            );
        }

        isTyped(control) {
            const before = this.opened.get(control);
            return before === undefined
                ? isChanged(control)
                : before !== JSON.stringify(read(control));
        }

        /** Return what a row is called in each page: by its position it may be another. */
        rowOf(name) {
            const [, prefix, number, field] = name.match(ROW) || [];
            const before = this.form.elements[`${prefix}-INITIAL_FORMS`];
            if (!before) {
                return ['', '', name];
            }
            if (number >= Number(before.value)) {
                return [prefix, `new ${number - before.value}`, field];
            }
            const start = `${prefix}-${number}-`;
            if (!this.rows.has(start)) {
                const keys = [...this.form.elements].filter(
                    (one) => one.type === 'hidden' && one.name.startsWith(start)
                );
                this.rows.set(start, keys.map((one) => one.value).join(' '));
            }
            return [prefix, this.rows.get(start), field];
        }

        keyOf(control) {
            const isOneOf = control.type === 'radio' || control.type === 'checkbox';
            const key = this.rowOf(control.name);
            return JSON.stringify(isOneOf ? [...key, control.value] : key);
        }

        label(control) {
            const field = control.name.match(ROW)?.[3] || control.name;
            const column = control.closest('table')?.tHead?.querySelector(
                `.column-${CSS.escape(field)}`
            );
            const label = control.labels?.[0] || column?.querySelector('.text') || column;
            const text = label?.textContent.trim().replace(/:$/, '');
            return text || control.getAttribute('aria-label') || field;
        }

        /** Return what was typed, and what of it was sent with the page before. */
        pieces(sent) {
            return this.controls.filter(
                (one) => this.isTyped(one) || (sent.size && sent.has(this.keyOf(one)))
            ).map((one) => ({
                key: this.keyOf(one), label: this.label(one), value: read(one)
            }));
        }

        /** Return the control for each piece; none if two could be meant. */
        places(pieces) {
            const found = new Map();
            for (const control of this.controls) {
                const key = this.keyOf(control);
                found.set(key, found.has(key) ? null : control);
            }
            return pieces.map(({key}) => found.get(key));
        }

        isHere(pieces) {
            const places = this.places(pieces);
            return pieces.every(({value}, i) =>
                places[i] && JSON.stringify(read(places[i])) === JSON.stringify(value)
            );
        }

        /** Add the rows that were new. */
        addRows(pieces) {
            for (const {key} of pieces) {
                const [prefix, row] = JSON.parse(key);
                const [, number] = row.match(/^new (\d+)$/) || [];
                const total = this.form.elements[`${prefix}-TOTAL_FORMS`];
                const add = `#${CSS.escape(prefix)}-group .add-row a`;
                const initial = Number(this.form.elements[`${prefix}-INITIAL_FORMS`]?.value);
                for (let before = -1; number && total && total.value > before &&
                    Number(number) >= total.value - initial;) {
                    before = Number(total.value);
                    this.form.querySelector(add)?.click();
                    if (Number(total.value) === before) {
                        break;
                    }
                }
            }
        }

        /** Put a draft back, with the tokens it was typed under; return what has no place. */
        putBack(draft) {
            this.addRows(draft.pieces);
            const places = this.places(draft.pieces);
            draft.pieces.forEach(({value}, i) => places[i] && write(places[i], value));
            for (const token of this.tokens) {
                token.value = draft.tokens[token.name] ?? token.value;
            }
            keepTokens(this.tokens);
            return draft.pieces.filter((piece, i) => !places[i]);
        }
    }

    // --- the page -------------------------------------------------------------

    const button = (text, act) => {
        const made = document.createElement('button');
        made.type = 'button';
        made.textContent = text;
        made.addEventListener('click', act);
        return made;
    };

    const banner = (form, text, ...actions) => {
        const made = document.createElement('div');
        const sentence = document.createElement('p');
        made.className = 'optilock-banner optilock-draft';
        sentence.setAttribute('role', 'status');
        made.append(sentence, ...actions);
        form.prepend(made);
        sentence.textContent = text; // once it is there, it is read out
        return made;
    };

    const names = (pieces) => {
        const labels = [...new Set(pieces.map((piece) => piece.label))];
        return new Intl.ListFormat(document.documentElement.lang || 'en').format(labels);
    };

    const time = (moment) => {
        const when = new Date(moment);
        const style = {timeStyle: 'short'};
        if (when.toDateString() !== new Date().toDateString()) {
            style.dateStyle = 'medium';
        }
        return when.toLocaleString(document.documentElement.lang || 'en', style);
    };

    const start = (form) => {
        const wasSaved = dropSaved();
        if (!form) {
            return;
        }
        const typed = new Form(form);
        const isPosted = 'posted' in said && !wasSaved;
        const before = load().filter((draft) => draft.place === place);
        const shown = before.filter((draft) =>
            isPosted ? draft.isSent : typed.isHere(draft.pieces)
        );
        let live = shown.pop();
        const sent = new Set(isPosted && live ? live.pieces.map((one) => one.key) : []);
        let isLeaving = false;

        const isDirty = () => typed.pieces(sent).length > 0;

        const keep = (isSent) => {
            const pieces = typed.pieces(sent);
            const id = live?.id || Math.random().toString(36).slice(2);
            drop(id);
            live = undefined;
            if (pieces.length) {
                const tokens = typed.tokens.map((one) => [one.name, one.value]);
                live = {
                    id, place, isSent, pieces, when: Date.now(),
                    tokens: Object.fromEntries(tokens)
                };
                store([...load(), live]);
            }
        };

        const offer = (draft) => {
            const text = said.told.replace('%(time)s', time(draft.when))
                .replace('%(fields)s', names(draft.pieces));
            const made = banner(form, text, button(said.putBack, () => {
                const lost = typed.putBack(draft);
                made.remove();
                if (lost.length) {
                    const list = document.createElement('ul');
                    list.append(...lost.map(({label, value}) => {
                        const item = document.createElement('li');
                        const chosen = Array.isArray(value) ? value.map(([, t]) => t) : [value];
                        item.textContent = `${label}: ${chosen.join(', ')}`;
                        return item;
                    }));
                    const rest = banner(form, said.lost, list, button(said.discard, () => {
                        drop(draft.id);
                        rest.remove();
                    }));
                    store([...load().filter((one) => one.id !== draft.id), {...draft, pieces: lost}]);
                } else {
                    drop(draft.id);
                }
                keep(false);
                typed.controls.find((one) => typed.isTyped(one))?.focus();
            }), button(said.discard, () => {
                drop(draft.id);
                made.remove();
            }));
        };
        before.filter((draft) => draft !== live && !shown.includes(draft)).forEach(offer);
        shown.forEach((draft) => drop(draft.id)); // the same once more

        let timer = null;
        form.addEventListener('input', () => {
            isLeaving = false;
            clearTimeout(timer);
            timer = setTimeout(keep, 300, false);
        });
        form.addEventListener('change', () => keep(false));
        window.addEventListener('submit', (event) => {
            if (event.defaultPrevented) {
                return;
            }
            if (event.target === form) {
                isLeaving = true;
                clearTimeout(timer);
                keep(true);
                const input = form.elements.optilock_draft || document.createElement('input');
                Object.assign(input, {
                    type: 'hidden', name: 'optilock_draft', value: live?.id || ''
                });
                form.append(input);
            } else if (event.target.id === 'logout-form') {
                store([]); // whoever comes next is somebody else
                isLeaving = true;
            }
        });
        document.addEventListener('click', (event) => {
            if (event.target.closest('[data-optilock-discard]')) {
                isLeaving = true;
                clearTimeout(timer);
                drop(live?.id);
            }
        });
        form.addEventListener('optilock:saved', () => { // by a script, on this page
            sent.clear();
            typed.note(typed.controls);
            keep(false);
        });
        window.addEventListener('beforeunload', (event) => {
            if (!isLeaving && isDirty()) {
                keep(false);
                event.preventDefault();
            }
        });
        window.addEventListener('pageshow', () => {
            isLeaving = false; // the browser has gone back to this very page
        });
    };

    window.addEventListener('pageshow', () => {
        const token = document.querySelector('input[name$="optilock_token"]');
        start((said.form && document.querySelector(said.form)) || token?.form);
    }, {once: true});
}
