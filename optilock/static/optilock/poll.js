// Asks now and then whether somebody else has open, or has saved, what is being edited.
'use strict';
{
    const isVisible = (control) => {
        const {width, height} = control.getBoundingClientRect();
        return (width > 1 && height > 1) ||
            control.classList.contains('select2-hidden-accessible');
    };

    const isTouched = (control) => globalThis.optilock.isChanged(control) ||
        (control.type === 'file' && control.files.length > 0);

    const named = (elements, name) => [...elements].filter((one) => one.name === name);

    // Pairs of an input and how the server renders it now, null if they don't fit
    // together: a script has then made something else of it, such as an editor.
    const pairs = (form, html) => {
        const parsed = new DOMParser().parseFromString(`<form>${html}</form>`, 'text/html');
        const wanted = [...parsed.forms[0].elements].filter((one) => one.name);
        const found = wanted.map((one) => {
            const [here, there] = [form.elements, wanted].map((all) => named(all, one.name));
            const now = here[there.indexOf(one)];
            const fits = here.length === there.length && now.id === one.id &&
                now.type === one.type && isVisible(now) &&
                !['file', 'hidden', 'password'].includes(now.type) &&
                (!['checkbox', 'radio'].includes(now.type) || now.value === one.value);
            return fits ? [now, one] : null;
        });
        return found.length && !found.includes(null) ? found : null;
    };

    const put = (control, rendered) => {
        if (control.options) {
            const chosen = [...rendered.selectedOptions];
            const here = [...control.options].map((option) => option.value);
            for (const option of chosen.filter(({value}) => !here.includes(value))) {
                control.add(new Option(option.text, option.value));
            }
            const values = chosen.map((option) => option.value);
            for (const option of control.options) {
                option.defaultSelected = values.includes(option.value);
                option.selected = option.defaultSelected;
            }
        } else if (control.type === 'checkbox' || control.type === 'radio') {
            control.defaultChecked = rendered.defaultChecked;
            control.checked = rendered.defaultChecked;
        } else {
            control.defaultValue = rendered.defaultValue;
            control.value = rendered.defaultValue;
        }
        control.dispatchEvent(new Event('change', {bubbles: true}));
    };

    const isSame = (control, rendered) => {
        if (control.options) {
            const values = (one) => JSON.stringify(
                [...one.selectedOptions].map((option) => option.value).sort()
            );
            return values(control) === values(rendered);
        }
        return control.value === rendered.value && control.checked === rendered.checked;
    };

    // What stands above the form. What is said in it is read aloud when somebody comes
    // or saves, and not each minute that passes.
    class Banner {
        constructor(form, texts) {
            this.texts = texts;
            const line = document.getElementById('optilock-banner');
            this.box = line || document.createElement('div');
            this.box.id = 'optilock-banner';
            this.who = null;
            this.closed = null;
            const said = this.box.querySelector('.optilock-people');
            this.people = said || document.createElement('p');
            this.people.className = 'optilock-people';
            this.news = document.createElement('p');
            this.news.className = 'optilock-news';
            const region = document.createElement('div');
            region.setAttribute('role', 'status');
            region.setAttribute('aria-live', 'polite');
            region.setAttribute('aria-relevant', 'additions');
            region.append(this.people, this.news);
            this.buttons = document.createElement('div');
            this.buttons.className = 'optilock-buttons';
            this.box.replaceChildren(region, this.buttons);
            form.prepend(this.box);
            this.offer([]);
        }

        offer(buttons) {
            const close = [this.texts.close, () => this.close()];
            this.buttons.replaceChildren(...[...buttons, close].map(([text, act, data]) => {
                const button = document.createElement('button');
                button.type = 'button';
                button.textContent = text;
                Object.assign(button.dataset, data);
                button.addEventListener('click', act);
                return button;
            }));
            const last = this.buttons.lastElementChild;
            last.className = 'optilock-close';
            last.title = last.textContent;
            last.setAttribute('aria-label', last.textContent);
            last.textContent = '×';
            this.show();
        }

        show() {
            const {people, news, box} = this;
            people.hidden = !people.textContent;
            news.hidden = !news.textContent;
            const isShown = !people.hidden || !news.hidden;
            this.buttons.hidden = !isShown;
            box.classList.toggle('optilock-banner', isShown);
        }

        close() {
            this.closed = this.who;
            this.people.textContent = '';
            this.tell('');
        }

        tell(text, buttons = []) {
            this.news.textContent = text;
            this.offer(buttons);
        }

        meet(who, text) {
            const names = JSON.stringify(who);
            const isNew = names !== this.who && !(this.who === null && this.people.firstChild);
            this.who = names;
            if (names === this.closed) {
                return;
            }
            this.closed = null;
            if (isNew || !this.people.firstChild) {
                this.people.textContent = text;
            } else {
                this.people.firstChild.data = text; // only time has passed
            }
            this.show();
        }
    }

    class Watch {
        constructor(token) {
            const {dataset} = token;
            this.token = token;
            this.form = token.form;
            this.seconds = this.wait = Number(dataset.optilockSeconds);
            this.isPresent = dataset.optilockPresence === 'true';
            this.texts = JSON.parse(dataset.optilockTexts);
            this.banner = new Banner(this.form, this.texts);
            this.told = '';
            this.timer = null;
            this.stopped = false;
        }

        start() {
            document.addEventListener('visibilitychange', () => {
                if (!document.hidden && this.timer === null) {
                    this.ask();
                }
            });
            window.addEventListener('submit', (event) => {
                if (event.target === this.form && !event.defaultPrevented) {
                    this.stop(); // what comes next is one's own save
                }
            });
            window.addEventListener('pagehide', () => {
                clearTimeout(this.timer);
                if (this.isPresent) {
                    navigator.sendBeacon(this.url, this.data('leave'));
                }
            });
            window.addEventListener('pageshow', (event) => {
                if (event.persisted) {
                    this.stopped = false;
                    this.ask();
                }
            });
            if (this.isPresent) {
                this.ask();
            } else {
                this.later();
            }
        }

        get url() {
            return this.token.dataset.optilockPoll;
        }

        get isTyped() {
            return this.token.dataset.optilockShow !== 'true' ||
                [...this.form.elements].some(isTouched);
        }

        later() {
            if (!this.stopped) {
                this.timer = setTimeout(() => this.ask(), this.wait * 1000);
            }
        }

        stop() {
            clearTimeout(this.timer);
            this.stopped = true;
        }

        data(question, touched = []) {
            const data = new FormData();
            const {csrfmiddlewaretoken: csrf} = this.form.elements;
            data.append('optilock_poll', question);
            data.append(this.token.name, this.token.value);
            data.append('optilock_told', this.told);
            if (csrf) {
                data.append('csrfmiddlewaretoken', csrf.value);
            }
            for (const name of touched) {
                data.append('optilock_touched', name);
            }
            return data;
        }

        async send(question, touched) {
            const response = await fetch(this.url, {
                method: 'POST',
                body: this.data(question, touched),
                credentials: 'same-origin',
                redirect: 'error',
                headers: {Accept: 'application/json'}
            });
            if (response.status === 404) { // gone, or not to be seen any more
                return {gone: true, text: this.texts.gone};
            }
            if (!response.ok) {
                throw new Error(response.status);
            }
            return response.json();
        }

        async ask() {
            this.timer = null;
            // Who has typed something has it open, also while looking elsewhere.
            if (this.stopped || (document.hidden && !(this.isPresent && this.isTyped))) {
                return; // asked again when the tab is looked at
            }
            try {
                this.hear(await this.send('look'));
                this.wait = this.seconds;
            } catch {
                this.wait = Math.min(this.wait * 2, 20 * this.seconds);
            }
            this.later();
        }

        hear(answer) {
            if (this.stopped) {
                return;
            }
            if (answer.gone) {
                this.stop();
                this.banner.meet([], '');
                const kept = this.isTyped ? ` ${this.texts.kept}` : '';
                this.banner.tell(answer.text + kept);
                return;
            }
            if (answer.who) {
                this.banner.meet(answer.who, answer.people);
            }
            if (answer.text && String(answer.version) !== this.told) {
                this.told = String(answer.version);
                this.tell(`${answer.text} ${answer.advice}`, answer.show);
            }
        }

        tell(text, canShow) {
            const reload = [this.texts.reload, () => this.reload(text, canShow)];
            const show = [this.texts.show, () => this.show()];
            const isOffered = canShow && this.token.dataset.optilockShow === 'true';
            this.banner.tell(text.trim(), isOffered ? [show, reload] : [reload]);
        }

        reload(text, canShow) {
            // Without its "#" this is another address, and never the POST once more.
            const {pathname, search} = window.location;
            const load = () => setTimeout(() => window.location.replace(pathname + search));
            if (!this.isTyped) {
                load();
                return;
            }
            this.banner.tell(this.texts.lost, [
                [this.texts.anyway, load, {optilockDiscard: ''}],
                [this.texts.cancel, () => this.tell(text, canShow)]
            ]);
            this.banner.buttons.children[1].focus();
        }

        // Puts new values where nothing was typed, and then the token that says so.
        async show(also = []) {
            const before = this.token.value;
            const controls = [...this.form.elements].filter((one) => one.name);
            const touched = [...controls.filter(isTouched).map((one) => one.name), ...also];
            let answer;
            try {
                answer = await this.send('show', touched);
            } catch {
                return; // it is offered still
            }
            if (answer.gone || this.stopped) {
                this.hear(answer);
                return;
            }
            const found = Object.entries(answer.inputs).map(
                ([name, html]) => [name, pairs(this.form, html)]
            );
            const unfit = found.filter(([, fitting]) => fitting === null);
            if (unfit.length) {
                await this.show([...also, ...unfit.map(([name]) => name)]);
                return;
            }
            const all = found.flatMap(([, fitting]) => fitting);
            if (this.token.value !== before || all.some(([control]) => isTouched(control))) {
                await this.show(also); // something was typed meanwhile
                return;
            }
            all.forEach(([control, rendered]) => put(control, rendered));
            if (all.every(([control, rendered]) => isSame(control, rendered))) {
                this.token.value = answer.token;
            }
            this.told = String(answer.version);
            this.tell(answer.text, false);
        }
    }

    const start = () => {
        const token = document.querySelector('input[data-optilock-poll]');
        if (token?.form) {
            new Watch(token).start();
        }
    };
    if (document.readyState === 'loading') {
        document.addEventListener('DOMContentLoaded', start);
    } else {
        start();
    }
}
