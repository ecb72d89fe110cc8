// Comfort only: the conflict page works without it.
'use strict';
{
    const start = () => {
        // In a list the questions stand at the cells, which may be far down.
        const panel = document.getElementById('optilock-conflict') ||
            document.querySelector('.optilock-cell');
        if (!panel) {
            return;
        }
        const missed = '.optilock-conflict [autofocus], .optilock-cell [autofocus]';
        (document.querySelector(missed) || panel).focus();
        const forAll = panel.querySelectorAll('[name="optilock_decision_for_all"]');
        const single = panel.querySelectorAll('.optilock-options input[type="radio"]');
        for (const radio of forAll) {
            radio.addEventListener('change', () => {
                for (const one of single) {
                    if (one.value === radio.value) {
                        one.checked = true;
                    }
                }
            });
        }
        for (const text of panel.querySelectorAll('.optilock-both textarea')) {
            text.addEventListener('input', () => {
                // To edit it is to choose it.
                const radio = text.parentElement.querySelector('input[type="radio"]');
                if (!radio.checked) {
                    radio.checked = true;
                    radio.dispatchEvent(new Event('change'));
                }
            });
        }
        for (const one of single) {
            one.addEventListener('change', () => {
                for (const radio of forAll) {
                    if (radio.value !== one.value) {
                        radio.checked = false;
                    }
                }
            });
        }
    };
    if (document.readyState === 'loading') {
        document.addEventListener('DOMContentLoaded', start);
    } else {
        start();
    }
}
