// Asks now and then whether somebody else has saved what is being edited.
'use strict';
{
    const start = () => {
        const token = document.querySelector('input[data-optilock-poll]');
        if (!token) {
            return;
        }
        const seconds = Number(token.dataset.optilockSeconds);
        let wait = seconds;
        let told = null;
        let timer = null;
        let stopped = false;

        const tell = (answer) => {
            if (stopped || !answer.text || answer.version === told) {
                return;
            }
            told = answer.version;
            let banner = document.getElementById('optilock-banner');
            if (!banner) {
                banner = document.createElement('div');
                banner.id = 'optilock-banner';
                banner.className = 'optilock-banner';
                banner.setAttribute('role', 'status');
                token.form.prepend(banner);
            }
            const reload = document.createElement('a');
            reload.href = window.location.href;
            reload.textContent = answer.reload;
            banner.replaceChildren(`${answer.text} ${answer.advice} `, reload);
        };

        const ask = async () => {
            if (document.hidden) {
                timer = null; // asked again when the tab is looked at
                return;
            }
            try {
                const response = await fetch(token.dataset.optilockPoll, {
                    credentials: 'same-origin',
                    headers: {Accept: 'application/json'}
                });
                if (response.status === 404) {
                    stopped = true; // gone, or not to be seen any more
                    return;
                }
                if (!response.ok) {
                    throw new Error(response.status);
                }
                tell(await response.json());
                wait = seconds;
            } catch {
                wait = Math.min(wait * 2, 20 * seconds);
            }
            if (!stopped) {
                timer = setTimeout(ask, wait * 1000);
            }
        };

        document.addEventListener('visibilitychange', () => {
            if (!document.hidden && timer === null && !stopped) {
                ask();
            }
        });
        token.form.addEventListener('submit', () => {
            clearTimeout(timer); // what comes next is one's own save
            stopped = true;
        });
        timer = setTimeout(ask, wait * 1000);
    };
    if (document.readyState === 'loading') {
        document.addEventListener('DOMContentLoaded', start);
    } else {
        start();
    }
}
