// A browser that goes back, or reloads, may put what was typed into a page that is
// new. The token has to be that of the page it was typed into.
'use strict';
{
    const isChanged = (control) => {
        if (control.type === 'checkbox' || control.type === 'radio') {
            return control.checked !== control.defaultChecked;
        }
        if (control.options) {
            const options = [...control.options];
            if (control.multiple || options.some((option) => option.defaultSelected)) {
                return options.some((option) => option.selected !== option.defaultSelected);
            }
            return control.selectedIndex > 0;
        }
        return 'defaultValue' in control && control.type !== 'hidden' &&
            control.type !== 'file' && control.value !== control.defaultValue;
    };

    // Kept for the entry in the window's history that the page has. To change the
    // state of an entry that was posted would make a GET of it, and a reload would
    // throw away what was typed; so it is kept beside, under the entry's id.
    const entry = window.navigation?.currentEntry?.id;
    const MOST = 30;

    const kept = () => {
        if (!entry) {
            return Object(history.state).optilock;
        }
        try {
            const all = JSON.parse(sessionStorage.getItem('optilock')) || [];
            return Object(all.find(([id]) => id === entry))[1];
        } catch {
            return undefined; // storage is switched off
        }
    };

    const keep = (values, isPosted) => {
        if (!entry) {
            if (!isPosted) {
                history.replaceState({...Object(history.state), optilock: values}, '');
            }
            return;
        }
        let others = [];
        try {
            const all = JSON.parse(sessionStorage.getItem('optilock')) || [];
            others = all.filter(([id]) => id !== entry).slice(1 - MOST);
        } catch {
            // What is there can't be read, or storage is switched off.
        }
        for (let isKept = false; !isKept; others = others.slice(Math.ceil(others.length / 2))) {
            try {
                sessionStorage.setItem('optilock', JSON.stringify([...others, [entry, values]]));
                isKept = true;
            } catch {
                isKept = !others.length; // it was full, and can't be made emptier
            }
        }
    };

    const keepTokens = (tokens) => keep(
        Object.fromEntries(tokens.map((token) => [token.name, token.value])),
        tokens.some((token) => 'optilockPosted' in token.dataset)
    );

    globalThis.optilock = {...globalThis.optilock, isChanged, keepTokens};

    window.addEventListener('pageshow', (event) => {
        if (event.persisted) {
            return; // the old page itself, with its token
        }
        const tokens = [...document.querySelectorAll('input[type="hidden"]')].filter(
            (input) => input.form && input.name.endsWith('optilock_token')
        );
        const before = kept();
        if (before && tokens.some((token) => [...token.form.elements].some(isChanged))) {
            for (const token of tokens) {
                token.value = before[token.name] ?? token.value;
            }
        } else if (tokens.length) {
            keepTokens(tokens);
        }
    });
}
