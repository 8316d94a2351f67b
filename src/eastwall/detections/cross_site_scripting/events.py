"""Names that HTML, SVG and their browsers give to events: what `on` + name makes an attribute of code.

HTML Living Standard (event handlers on elements, document and window), UI Events, Pointer Events, SVG 2, and those of older browsers.
"""

from __future__ import annotations

HANDLERS = frozenset(
    "on" + name
    for name in """
abort activate afterprint afterscriptexecute afterupdate animationcancel animationend animationiteration animationstart auxclick
beforeactivate beforecopy beforecut beforedeactivate beforeeditfocus beforeinput beforematch beforepaste beforeprint beforescriptexecute
beforetoggle beforeunload beforeupdate begin blur bounce cancel canplay canplaythrough cellchange change click close command
compositionend compositionstart compositionupdate contentvisibilityautostatechange contextlost contextmenu contextrestored controlselect
copy cuechange cut dataavailable datasetchanged datasetcomplete dblclick deactivate devicemotion deviceorientation drag dragdrop dragend
dragenter dragexit dragleave dragover dragstart drop durationchange emptied end ended error errorupdate filterchange finish focus focusin
focusout formchange formdata forminput fullscreenchange fullscreenerror gesturechange gestureend gesturestart gotpointercapture
hashchange help input invalid keydown keypress keyup languagechange layoutcomplete load loadeddata loadedmetadata loadend loadstart
losecapture lostpointercapture mediacomplete mediaerror message messageerror mousedown mouseenter mouseleave mousemove mouseout mouseover
mouseup mousewheel move moveend movestart offline online orientationchange outofsync pagehide pagereveal pageshow pageswap paste pause
play playing pointercancel pointerdown pointerenter pointerleave pointermove pointerout pointerover pointerrawupdate pointerup popstate
progress propertychange ratechange readystatechange rejectionhandled repeat reset resize resizeend resizestart resume reverse rowdelete
rowexit rowinserted rowsenter scroll scrollend scrollsnapchange scrollsnapchanging search securitypolicyviolation seek seeked seeking
select selectionchange selectstart show slotchange stalled start stop storage submit suspend syncrestored timeerror timeupdate toggle
touchcancel touchend touchmove touchstart trackchange transitioncancel transitionend transitionrun transitionstart unhandledrejection
unload urlflip volumechange waiting webkitanimationend webkitanimationiteration webkitanimationstart webkitfullscreenchange
webkitmouseforcechanged webkitmouseforcedown webkitmouseforceup webkitmouseforcewillbegin webkitplaybacktargetavailabilitychanged
webkittransitionend wheel zoom
""".split()
)
