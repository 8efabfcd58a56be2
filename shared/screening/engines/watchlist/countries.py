"""Countries under one code, however a list or a subject writes them: ISO 3166-1 alpha-2 codes and English names."""

from typing import Final

from shared.screening.engines.watchlist.names import fold

# Code, then the names in use, OFAC's among them. XK for Kosovo is a user-assigned code in common use.
_TABLE: Final = """
AD Andorra|AE United Arab Emirates/UAE|AF Afghanistan|AG Antigua and Barbuda|AI Anguilla|AL Albania|AM Armenia
AO Angola|AR Argentina|AS American Samoa|AT Austria|AU Australia|AW Aruba|AZ Azerbaijan|BA Bosnia and Herzegovina/
Bosnia-Herzegovina/Bosnia|BB Barbados|BD Bangladesh|BE Belgium|BF Burkina Faso|BG Bulgaria|BH Bahrain|BI Burundi
BJ Benin|BM Bermuda|BN Brunei|BO Bolivia|BR Brazil|BS Bahamas/The Bahamas|BT Bhutan|BW Botswana|BY Belarus|BZ Belize
CA Canada|CD Congo, Democratic Republic of the/Democratic Republic of the Congo/DR Congo|CF Central African Republic
CG Congo, Republic of the/Republic of the Congo/Congo|CH Switzerland|CI Cote d Ivoire/Cote d'Ivoire/Ivory Coast
CL Chile|CM Cameroon|CN China/People's Republic of China|CO Colombia|CR Costa Rica|CU Cuba|CV Cabo Verde/Cape Verde
CW Curacao|CY Cyprus|CZ Czech Republic/Czechia|DE Germany|DJ Djibouti|DK Denmark|DM Dominica|DO Dominican Republic
DZ Algeria|EC Ecuador|EE Estonia|EG Egypt|ER Eritrea|ES Spain|ET Ethiopia|FI Finland|FJ Fiji|FM Micronesia|FR France
GA Gabon|GB United Kingdom/Great Britain/England/Scotland/Wales/Northern Ireland/UK|GD Grenada|GE Georgia
GF French Guiana|GG Guernsey|GH Ghana|GI Gibraltar|GL Greenland|GM The Gambia/Gambia|GN Guinea|GP Guadeloupe
GQ Equatorial Guinea|GR Greece|GT Guatemala|GU Guam|GW Guinea-Bissau|GY Guyana|HK Hong Kong|HN Honduras|HR Croatia
HT Haiti|HU Hungary|ID Indonesia|IE Ireland|IL Israel|IM Isle of Man|IN India|IQ Iraq|IR Iran/Iran, Islamic Republic of
IS Iceland|IT Italy|JE Jersey|JM Jamaica|JO Jordan|JP Japan|KE Kenya|KG Kyrgyzstan|KH Cambodia|KI Kiribati|KM Comoros
KN Saint Kitts and Nevis|KP Korea, North/North Korea|KR Korea, South/South Korea|KW Kuwait|KY Cayman Islands
KZ Kazakhstan|LA Laos|LB Lebanon|LC Saint Lucia|LI Liechtenstein|LK Sri Lanka|LR Liberia|LS Lesotho|LT Lithuania
LU Luxembourg|LV Latvia|LY Libya|MA Morocco|MC Monaco|MD Moldova|ME Montenegro|MG Madagascar|MH Marshall Islands
MK North Macedonia/Macedonia/Macedonia, The Former Yugoslav Republic of|ML Mali|MM Burma/Myanmar|MN Mongolia|MO Macau
MQ Martinique|MR Mauritania|MT Malta|MU Mauritius|MV Maldives|MW Malawi|MX Mexico|MY Malaysia|MZ Mozambique|NA Namibia
NE Niger|NG Nigeria|NI Nicaragua|NL Netherlands/The Netherlands|NO Norway|NP Nepal|NR Nauru|NZ New Zealand|OM Oman
PA Panama|PE Peru|PG Papua New Guinea|PH Philippines|PK Pakistan|PL Poland|PR Puerto Rico|PS Palestinian/Palestine/
Region: Gaza/West Bank|PT Portugal|PW Palau|PY Paraguay|QA Qatar|RO Romania|RS Serbia|RU Russia/Russian Federation
RW Rwanda|SA Saudi Arabia|SB Solomon Islands|SC Seychelles|SD Sudan|SE Sweden|SG Singapore|SI Slovenia|SK Slovakia
SL Sierra Leone|SM San Marino|SN Senegal|SO Somalia|SR Suriname|SS South Sudan|ST Sao Tome and Principe|SV El Salvador
SY Syria|SZ Eswatini/Swaziland|TC Turks and Caicos Islands|TD Chad|TG Togo|TH Thailand|TJ Tajikistan|TL Timor-Leste
TM Turkmenistan|TN Tunisia|TO Tonga|TR Turkey/Turkiye|TT Trinidad and Tobago|TV Tuvalu|TW Taiwan|TZ Tanzania|UA Ukraine
UG Uganda|US United States/United States of America/USA|UY Uruguay|UZ Uzbekistan|VA Vatican City/Holy See
VC Saint Vincent and the Grenadines|VE Venezuela|VG Virgin Islands, British|VI Virgin Islands, U.S.|VN Vietnam
VU Vanuatu|WS Samoa|XK Kosovo|YE Yemen|ZA South Africa|ZM Zambia|ZW Zimbabwe
"""


def _read(table: str) -> dict[str, str]:
    codes: dict[str, str] = {}
    for line in table.replace("/\n", "/").strip().replace("\n", "|").split("|"):
        code, _, names = line.partition(" ")
        codes[code.lower()] = code
        codes.update((fold(name), code) for name in names.split("/"))
    return codes


_CODES: Final = _read(_TABLE)


def country_codes(text: str) -> frozenset[str]:
    """The country that a text names, as a set of one code; empty where none is recognised."""
    code = _CODES.get(fold(text))
    return frozenset({code}) if code else frozenset()
