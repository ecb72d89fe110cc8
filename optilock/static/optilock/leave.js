// Django's own script would go back to a page that was posted, which browsers
// don't show again. What was posted to is the list.
'use strict';
document.addEventListener('click', event => {
    if (event.target.closest('.cancel-link')) {
        event.preventDefault();
        event.stopPropagation();
        window.location.replace(window.location.pathname + window.location.search);
    }
}, true);
