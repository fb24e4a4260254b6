# SPDX-License-Identifier: GPL-3.0-or-later
"""How the report of a batch looks."""

STYLE = """
:root { color-scheme: light dark; --line: #8886; --quiet: #777; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; --bad: #ff8a80 } }
* { box-sizing: border-box }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 100rem }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; margin: 1.6rem 0 .6rem; overflow-wrap: anywhere }
h3 { font-size: .8rem; font-weight: 500; margin: .5rem .6rem .2rem; color: var(--quiet);
     overflow-wrap: anywhere }
header p { margin: .2rem 0; color: var(--quiet) }
.failures { border-left: 4px solid var(--bad); padding-left: .8rem }
.failures ul { padding-left: 1.1rem; overflow-wrap: anywhere }
.failures span { color: var(--quiet) }
.cards { display: grid; gap: .8rem;
         grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)) }
article { border: 1px solid var(--line); border-radius: 6px; overflow: hidden }
article.failed, article.cancelled { border-color: var(--bad) }
article img, article .none { display: block; width: 100%; margin: 0 }
article .none { padding: 1.6rem .6rem; text-align: center; background: #8882; color: var(--quiet) }
dl { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: 0 .6rem .6rem; font-size: .85rem }
dl div { display: flex; gap: .35rem; min-width: 0 }
dt { color: var(--quiet) }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
details { margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line);
         white-space: nowrap }
td:nth-child(13) { white-space: normal; min-width: 20rem }
"""
