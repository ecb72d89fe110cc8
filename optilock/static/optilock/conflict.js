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
        panel.focus();
        const forAll = panel.querySelectorAll('[name="optilock_choice_for_all"]');
        const single = panel.querySelectorAll('.optilock-choice input[type="radio"]');
        for (const radio of forAll) {
            radio.addEventListener('change', () => {
                for (const one of single) {
                    one.checked = one.value === radio.value;
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
