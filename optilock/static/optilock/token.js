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

    window.addEventListener('pageshow', (event) => {
        if (event.persisted) {
            return; // the old page itself, with its token
        }
        const tokens = [...document.querySelectorAll('input[type="hidden"]')].filter(
            (input) => input.form && input.name.endsWith('optilock_token')
        );
        const before = Object(history.state).optilock;
        if (before && tokens.some((token) => [...token.form.elements].some(isChanged))) {
            for (const token of tokens) {
                token.value = before[token.name] ?? token.value;
            }
        } else if (tokens.length) {
            const optilock = Object.fromEntries(
                tokens.map((token) => [token.name, token.value])
            );
            history.replaceState({...Object(history.state), optilock}, '');
        }
    });
}
