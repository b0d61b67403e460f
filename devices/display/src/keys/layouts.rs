//! The layouts, as keyboards have them printed on. A blank is a key without a character there; a dead key is the
//! mark that it puts on the next letter.

use super::layout::Layout;

/// All; the first is what is meant without a name.
#[rustfmt::skip]
pub(super) static LAYOUTS: [Layout; 15] = [
    Layout { name: "en-us", more: &[], rows: [
        ["`1234567890-=", "~!@#$%^&*()_+", "", ""],
        ["qwertyuiop[]", "QWERTYUIOP{}", "", ""],
        ["asdfghjkl;'\\", "ASDFGHJKL:\"|", "", ""],
        ["<zxcvbnm,./", ">ZXCVBNM<>?", "", ""],
    ]},
    Layout { name: "de", more: &[('^', 41, false, false), ('´', 13, false, false), ('`', 13, true, false)], rows: [
        ["\u{302}1234567890ß\u{301}", "°!\"§$%&/()=?\u{300}", "  ²³   {[]}\\", ""],
        ["qwertzuiopü+", "QWERTZUIOPÜ*", "@ €        ~", ""],
        ["asdfghjklöä#", "ASDFGHJKLÖÄ'", "", ""],
        ["<yxcvbnm,.-", ">YXCVBNM;:_", "|      µ", ""],
    ]},
    Layout { name: "fr", more: &[('¨', 26, true, false)], rows: [
        ["²&é\"'(-è_çà)=", " 1234567890°+", "  ~#{[|`\\^@]}", ""],
        ["azertyuiop\u{302}$", "AZERTYUIOP\u{308}£", "  €        ¤", ""],
        ["qsdfghjklmù*", "QSDFGHJKLM%µ", "", ""],
        ["<wxcvbn,;:!", ">WXCVBN?./§", "", ""],
    ]},
    Layout { name: "en-gb", more: &[], rows: [
        ["`1234567890-=", "¬!\"£$%^&*()_+", "¦   €", ""],
        ["qwertyuiop[]", "QWERTYUIOP{}", "  é   úíó", "  É   ÚÍÓ"],
        ["asdfghjkl;'#", "ASDFGHJKL:@~", "á", "Á"],
        ["\\zxcvbnm,./", "|ZXCVBNM<>?", "", ""],
    ]},
    Layout { name: "es", more: &[('`', 26, false, false), ('^', 26, true, false), ('´', 40, false, false), ('¨', 40, true, false)], rows: [
        ["º1234567890'¡", "ª!\"·$%&/()=?¿", "\\|@#~€¬", ""],
        ["qwertyuiop\u{300}+", "QWERTYUIOP\u{302}*", "  €       []", ""],
        ["asdfghjklñ\u{301}ç", "ASDFGHJKLÑ\u{308}Ç", "          {}", ""],
        ["<zxcvbnm,.-", ">ZXCVBNM;:_", "", ""],
    ]},
    Layout { name: "it", more: &[('~', 13, false, true), ('`', 12, false, true)], rows: [
        ["\\1234567890'ì", "|!\"£$%&/()=?^", "", ""],
        ["qwertyuiopè+", "QWERTYUIOPé*", "  €       []", "          {}"],
        ["asdfghjklòàù", "ASDFGHJKLç°§", "         @#", ""],
        ["<zxcvbnm,.-", ">ZXCVBNM;:_", "", ""],
    ]},
    Layout { name: "sv", more: NORDIC, rows: [
        ["§1234567890+\u{301}", "½!\"#¤%&/()=?\u{300}", "  @£$€ {[]}\\", ""],
        ["qwertyuiopå\u{308}", "QWERTYUIOPÅ\u{302}", "  €        \u{303}", ""],
        ["asdfghjklöä'", "ASDFGHJKLÖÄ*", "", ""],
        ["<zxcvbnm,.-", ">ZXCVBNM;:_", "|      µ", ""],
    ]},
    Layout { name: "fi", more: NORDIC, rows: [
        ["§1234567890+\u{301}", "½!\"#¤%&/()=?\u{300}", "  @£$€ {[]}\\", ""],
        ["qwertyuiopå\u{308}", "QWERTYUIOPÅ\u{302}", "  €        \u{303}", ""],
        ["asdfghjklöä'", "ASDFGHJKLÖÄ*", "", ""],
        ["<zxcvbnm,.-", ">ZXCVBNM;:_", "|      µ", ""],
    ]},
    Layout { name: "no", more: &[('~', 27, false, true), ('¨', 27, false, false), ('^', 27, true, false), ('`', 13, true, false), ('´', 13, false, true)], rows: [
        ["|1234567890+\\", "§!\"#¤%&/()=?\u{300}", "  @£$€ {[]} \u{301}", ""],
        ["qwertyuiopå\u{308}", "QWERTYUIOPÅ\u{302}", "  €        \u{303}", ""],
        ["asdfghjkløæ'", "ASDFGHJKLØÆ*", "", ""],
        ["<zxcvbnm,.-", ">ZXCVBNM;:_", "       µ", ""],
    ]},
    Layout { name: "da", more: &[('~', 27, false, true), ('¨', 27, false, false), ('^', 27, true, false), ('`', 13, true, false), ('´', 13, false, false)], rows: [
        ["½1234567890+\u{301}", "§!\"#¤%&/()=?\u{300}", "  @£$€ {[]} |", ""],
        ["qwertyuiopå\u{308}", "QWERTYUIOPÅ\u{302}", "  €        \u{303}", ""],
        ["asdfghjklæø'", "ASDFGHJKLÆØ*", "", ""],
        ["<zxcvbnm,.-", ">ZXCVBNM;:_", "\\      µ", ""],
    ]},
    Layout { name: "pt", more: &[('´', 27, false, false), ('`', 27, true, false), ('~', 43, false, false), ('^', 43, true, false), ('¨', 26, false, true)], rows: [
        ["\\1234567890'«", "|!\"#$%&/()=?»", "  @£§€ {[]}", ""],
        ["qwertyuiop+\u{301}", "QWERTYUIOP*\u{300}", "  €       \u{308}", ""],
        ["asdfghjklçº\u{303}", "ASDFGHJKLÇª\u{302}", "", ""],
        ["<zxcvbnm,.-", ">ZXCVBNM;:_", "", ""],
    ]},
    Layout { name: "de-ch", more: SWISS, rows: [
        ["§1234567890'\u{302}", "°+\"*ç%&/()=?\u{300}", " ¦@#  ¬|¢  \u{301}\u{303}", ""],
        ["qwertzuiopü\u{308}", "QWERTZUIOPè!", "  €       []", ""],
        ["asdfghjklöä$", "ASDFGHJKLéà£", "          {}", ""],
        ["<yxcvbnm,.-", ">YXCVBNM;:_", "\\", ""],
    ]},
    Layout { name: "fr-ch", more: SWISS, rows: [
        ["§1234567890'\u{302}", "°+\"*ç%&/()=?\u{300}", " ¦@#  ¬|¢  \u{301}\u{303}", ""],
        ["qwertzuiopè\u{308}", "QWERTZUIOPü!", "  €       []", ""],
        ["asdfghjkléà$", "ASDFGHJKLöä£", "          {}", ""],
        ["<yxcvbnm,.-", ">YXCVBNM;:_", "\\", ""],
    ]},
    Layout { name: "pl", more: &[], rows: [
        ["`1234567890-=", "~!@#$%^&*()_+", "", ""],
        ["qwertyuiop[]", "QWERTYUIOP{}", "  ę   € ó", "  Ę     Ó"],
        ["asdfghjkl;'\\", "ASDFGHJKL:\"|", "ąś      ł", "ĄŚ      Ł"],
        ["<zxcvbnm,./", ">ZXCVBNM<>?", " żźć  ń", " ŻŹĆ  Ń"],
    ]},
    Layout { name: "ru", more: &[], rows: [
        ["ё1234567890-=", "Ё!\"№;%:?*()_+", "", ""],
        ["йцукенгшщзхъ", "ЙЦУКЕНГШЩЗХЪ", "", ""],
        ["фывапролджэ\\", "ФЫВАПРОЛДЖЭ/", "", ""],
        ["/ячсмитьбю.", "|ЯЧСМИТЬБЮ,", "", ""],
    ]},
];

const NORDIC: &[(char, u16, bool, bool)] = &[
    ('~', 27, false, true),
    ('¨', 27, false, false),
    ('^', 27, true, false),
    ('´', 13, false, false),
    ('`', 13, true, false),
];

const SWISS: &[(char, u16, bool, bool)] = &[
    ('^', 13, false, false),
    ('`', 13, true, false),
    ('~', 13, false, true),
    ('´', 12, false, true),
    ('¨', 27, false, false),
];
