"""How people ask: phrase patterns per tool, and the rules that expand one pattern into a sentence.

A pattern may hold alternatives `[a|b|]` and slots `<room>`. Patterns are imperatives that may get a polite
frame ("could you ... please"); a leading `=` marks one that stands alone. `HELD_OUT` patterns are never
trained on: they measure how well the model takes a phrase of a new shape.
"""

import hashlib
import random
import re

import transcript

# tool -> kind -> patterns. The kind fixes slots (see KIND_SLOTS) and tells questions apart.
TRAINED = {
    "get_time": {
        "time": ["=what time is it[| now| right now| at the moment]", "=what's the time[| now]", "tell me the time",
                 "=how late is it[| now]", "=do you have the time", "=time[| now]", "=what does the clock say",
                 "=[hey, |so, |]what time is it[| here]", "give me the time", "check the time[| for me]",
                 "=what is the current time", "=i need [the time|to know the time]", "=is it late[| already]",
                 "=the time[| now]", "look at the clock", "say what time it is", "=tell me what time it is"],
        "date": ["=what day is it[| today]", "=what's the date[| today]", "tell me the date",
                 "=what is today's date", "=which day is it[| today]", "=what day of the week is it[| today]",
                 "=what weekday is it[| today]", "=date[| please]", "=the date[| today]", "tell me what day it is",
                 "=do you know the date", "=is it a weekday", "=which date is it[| today]", "say the date",
                 "=what is the date", "=is today a [monday|sunday|friday|saturday]", "give me today's date"]},
    "set_light": {
        "switch": ["turn <state> the [light|lights|lamp] in the <room>", "turn the <room> [light|lights|lamp] <state>",
                   "switch <state> the <room> [light|lights|lamp]", "switch the [light|lights|lamp] in the <room> <state>",
                   "=<room> [light|lights|lamp] <state>", "put the <room> [light|lights|lamp] <state>",
                   "turn <state> the <room> [light|lights|lamp]", "turn <state> the <room>",
                   "=[light|lights] <state> in the <room>", "=i want the <room> [light|lamp] <state>",
                   "=in the <room>, turn the [light|lights] <state>", "=the <room> [light should be|lights should be] <state>",
                   "flip the <room> [light|lamp] <state>", "have the <room> lights <state>",
                   "=can i have the [light|lights] in the <room> <state>", "set the <room> [light|lights|lamp] to <state>",
                   "get the [light|lights] <state> in the <room>", "=<room>, [light|lights] <state>",
                   "=i need the <room> [light|lights] <state>", "make sure the <room> [light|lamp] is <state>"],
        "on": ["light up the <room>", "make it [bright|light] in the <room>", "=it is [too |so |]dark in the <room>",
               "give me [some light|light] in the <room>", "=i need [some |more |]light in the <room>",
               "brighten the <room>", "=i can't see anything in the <room>", "=let there be light in the <room>",
               "start the <room> [light|lamp]", "activate the [light|lights] in the <room>"],
        "off": ["make it dark in the <room>", "make the <room> dark", "=it is too bright in the <room>",
                "kill the [light|lights] in the <room>", "=no light in the <room>", "darken the <room>",
                "=nobody is in the <room>, save power", "shut off the <room> [light|lights|lamp]",
                "=i forgot the light in the <room>", "=we don't need light in the <room>",
                "cut the <room> [light|lights]", "=lights out in the <room>"],
        "dim": ["dim the <room> [light|lights|lamp] to <brightness> percent", "set the <room> [light|lights|lamp] to <brightness> percent",
                "=<room> [light|lights] at <brightness> percent", "turn the <room> [light|lights] to <brightness> percent",
                "set the [light|lights] in the <room> to <brightness> percent", "=<room> [light|lamp] to <brightness>",
                "dim the [light|lights] in the <room> to <brightness>", "turn on the <room> light at <brightness> percent",
                "turn the light in the <room> on at <brightness> percent", "put the <room> lights at <brightness> percent",
                "=i want <brightness> percent [light|brightness] in the <room>", "make the <room> light <brightness> percent bright",
                "switch on the <room> [light|lamp] with <brightness> percent", "=<brightness> percent light in the <room>"]},
    "set_thermostat": {
        "room": ["set the heating in the <room> to <temperature>[| degrees]", "heat the <room> to <temperature> degrees",
                 "make it <temperature> degrees in the <room>", "set the <room> to <temperature> degrees",
                 "=<temperature> degrees in the <room>", "warm the <room> up to <temperature>[| degrees]",
                 "turn the <room> heating to <temperature>[| degrees]", "=i want <temperature> degrees in the <room>",
                 "put the <room> thermostat at <temperature>"],
        "house": ["set the heating to <temperature>[| degrees]", "make it <temperature> degrees[| in here]",
                  "set the thermostat to <temperature>[| degrees]", "turn the heating to <temperature>[| degrees]",
                  "=heating to <temperature>[| degrees]", "heat the house to <temperature> degrees",
                  "set the temperature to <temperature>[| degrees]", "=i want it <temperature> degrees warm",
                  "=thermostat <temperature>[| degrees]", "change the temperature to <temperature>"]},
    "lock_door": {
        "door": ["<action> the <door>", "=<action> the <door>[| now| quickly]", "make sure to <action> the <door>",
                 "=i want to <action> the <door>", "=the <door>, <action> it", "go and <action> the <door>",
                 "=you should <action> the <door>", "=time to <action> the <door>", "=<door>, <action>"]},
    "play_music": {
        "what": ["play [some |]<what>", "put on [some |]<what>", "start [some |]<what>", "=i want to [hear|listen to] <what>",
                 "let me hear [some |]<what>", "=how about some <what>", "turn on <what>", "=let's listen to <what>",
                 "=i would like to hear <what>", "play me <what>", "=<what>[| now]"]},
    "set_timer": {
        "minutes": ["set a timer for <minutes> minutes", "start a [timer for <minutes> minutes|<minutes> minute timer]",
                    "set a <minutes> minute timer", "=timer for <minutes> minutes", "=<minutes> minutes timer",
                    "wake me in <minutes> minutes", "remind me in <minutes> minutes", "count down <minutes> minutes",
                    "tell me when <minutes> minutes are over", "=i need a timer for <minutes> minutes",
                    "time <minutes> minutes", "=timer, <minutes> minutes"]},
    "get_weather": {
        "day": ["=what is the weather [like |]<day>", "=how is the weather <day>", "=what's the weather <day>",
                "tell me the weather [for |]<day>", "=weather <day>", "=weather for <day>", "check the weather for <day>",
                "=what will the weather be <day>", "=do i need an umbrella <day>", "=will it rain <day>",
                "=is it going to rain <day>", "=will it be [sunny|cold|warm] <day>", "=how warm will it be <day>"],
        "now": ["=what is the weather like", "=how is the weather", "=do i need [an umbrella|a coat]", "=is it raining",
                "=is it cold outside", "tell me the weather", "=how warm is it outside", "=what's the weather"]},
    "move_blinds": {
        "open": ["open the [blinds|blind|curtains] in the <room>", "open the <room> [blinds|curtains]",
                 "raise the <room> blinds", "pull up the blinds in the <room>", "=<room> [blinds|curtains] open",
                 "=blinds up in the <room>", "let the sun into the <room>", "lift the blinds in the <room>"],
        "closed": ["close the [blinds|blind|curtains] in the <room>", "close the <room> [blinds|curtains]",
                   "lower the <room> blinds", "shut the blinds in the <room>", "=<room> [blinds|curtains] closed",
                   "=blinds down in the <room>", "draw the curtains in the <room>", "pull down the <room> blinds"]},
    "add_to_list": {
        "item": ["add <item> to the [shopping |]list", "put <item> on the [shopping |]list", "=we need <item>",
                 "=we are out of <item>", "=i have to buy <item>", "note <item> on the shopping list",
                 "=shopping list, <item>", "=<item> for the shopping list", "write down <item> for shopping",
                 "=we have no <item> left", "add <item>", "=buy <item> next time", "remember to buy <item>"]},
    "send_note": {
        "note": ["send <to> a note, <text>", "tell <to> <text>", "tell <to> that <text>", "send a note to <to>, <text>",
                 "write to <to>, <text>", "let <to> know that <text>", "=note to <to>, <text>", "leave <to> a note, <text>",
                 "message <to>, <text>", "=say to <to>, <text>"]},
    "set_fan": {
        "speed": ["set the <room> fan to <speed>", "turn the <room> fan to <speed>", "put the fan in the <room> on <speed>",
                  "=<room> fan <speed>", "=fan on <speed> in the <room>", "run the <room> fan on <speed>",
                  "set the fan in the <room> to <speed>", "switch the <room> fan to <speed>"],
        "off": ["turn off the <room> fan", "stop the <room> fan", "switch off the fan in the <room>",
                "turn the fan in the <room> off", "=<room> fan off", "shut off the <room> fan",
                "=no fan in the <room>"]},
    "find_phone": {
        "mine": ["find my phone", "=where is my phone", "ring my phone", "=i can't find my phone",
                 "=i lost my phone", "call my phone", "make my phone ring", "=my phone is gone",
                 "help me find my phone", "=have you seen my phone", "=where did i leave my phone"],
        "owner": ["find the phone of <owner>", "=where is the phone of <owner>", "ring the phone of <owner>",
                  "=<owner> lost a phone", "make the phone of <owner> ring", "=<owner> can't find the phone",
                  "help <owner> find the phone"]},
}

HELD_OUT = {
    "get_time": {"time": ["=how late is it here[| now]", "let me know the time", "=what time do we have"],
                 "date": ["=what's today's date", "let me know what day it is", "=which weekday is it[| today]"]},
    "set_light": {"switch": ["=the lights in the <room> should be <state>", "flip <state> the [light|lights] in the <room>",
                             "=i want the lights <state> in the <room>", "=<state> with the <room> [light|lights]"],
                  "on": ["start the light in the <room>", "=the <room> is too dark"],
                  "off": ["=the <room> is too bright", "darken the light in the <room>"],
                  "dim": ["=in the <room>, dim the lights to <brightness> percent", "have the <room> lamp at <brightness> percent"]},
    "set_thermostat": {"room": ["change the <room> temperature to <temperature>[| degrees]"],
                       "house": ["put the heating at <temperature> degrees"]},
    "lock_door": {"door": ["=i need you to <action> the <door>"]},
    "play_music": {"what": ["=i feel like <what>"]},
    "set_timer": {"minutes": ["start counting <minutes> minutes"]},
    "get_weather": {"day": ["=how will the weather be <day>"], "now": ["=will i need an umbrella"]},
    "move_blinds": {"open": ["raise the blinds in the <room>"], "closed": ["lower the curtains in the <room>"]},
    "add_to_list": {"item": ["=the shopping list needs <item>"]},
    "send_note": {"note": ["let <to> know, <text>"]},
    "set_fan": {"speed": ["=i want the <room> fan on <speed>"], "off": ["stop the fan in the <room>"]},
    "find_phone": {"mine": ["=please, where is my phone"], "owner": ["call the phone of <owner>"]},
}

# Slots that a kind fixes; None removes a slot from the call.
KIND_SLOTS = {
    ("set_light", "switch"): {"brightness": None},
    ("set_light", "on"): {"state": "on", "brightness": None},
    ("set_light", "off"): {"state": "off", "brightness": None},
    ("set_light", "dim"): {"state": "on"},
    ("set_thermostat", "house"): {"room": None},
    ("get_weather", "now"): {"day": "today"},
    ("move_blinds", "open"): {"position": "open"},
    ("move_blinds", "closed"): {"position": "closed"},
    ("set_fan", "off"): {"speed": "off"},
    ("find_phone", "mine"): {"owner": None},
}

# Said to the house without a tool: pattern -> answer.
SMALL_TALK = {
    "Hello, how can I help?": ["=hello[| there| house]", "=hi[| there]", "=hey[| there]", "=good [morning|evening|day|afternoon]",
                               "=hello, [are you there|can you hear me]", "=are you there"],
    "You are welcome.": ["=thank you[| very much| so much]", "=thanks[| a lot]", "=great, thanks", "=many thanks",
                         "=ok, thank you", "=that was [nice|good], thanks", "=well done"],
    "I can use the tools of this house for you.": ["=what can you do", "=how can you help[| me]", "=what are you able to do",
                                                   "=help[| me]", "=who are you", "=what are you", "=what do you do"],
    "Good night.": ["=good night", "=sleep well", "=bye[| bye]", "=goodbye", "=see you[| later| tomorrow]"],
    "I am fine, thank you.": ["=how are you[| today| doing]", "=are you ok", "=how do you feel"],
    "In which room?": ["turn <state> the [light|lights|lamp]", "switch <state> the [light|lights]", "=[light|lights] <state>",
                       "turn the [light|lights] <state>", "dim the [light|lights]"],
}

# No tool of the house fits.
UNSUPPORTED = [
    "write a poem[| about <thing>]", "tell me a [joke|story]", "=what is the capital of [france|spain|italy|norway]",
    "order a pizza", "=how old is the [moon|queen|pope]", "=who won the [game|match] [yesterday|last night]", "sing a song",
    "book a [table|flight|hotel][| for <thing>]", "=what is <number> [plus|times] <number>", "cook [dinner|soup|<thing>]",
    "water the [flowers|garden]", "feed the [cat|dog]", "wash the [car|dishes]", "=how tall is the [tower|tree]",
    "call a taxi", "translate this[| to french| to german]", "read me the [book|mail|letter]", "clean the <room>",
    "=what is the meaning of life", "paint the <room>", "start the [car|oven|vacuum|washing machine]", "buy [shoes|a car]",
    "=how do i [bake bread|fix a bike|make soup]", "explain [gravity|physics|chess]", "take a picture", "fill the bath",
]
THINGS = ["cats", "dogs", "the sea", "snow", "summer", "two", "birds", "love", "my boss", "potatoes", "fish"]

NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine",
                10: "ten", 12: "twelve", 15: "fifteen", 20: "twenty", 30: "thirty", 40: "forty", 50: "fifty",
                60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety", 100: "one hundred"}
POLITE = ["", "", "", "", "please ", "could you ", "can you ", "would you ", "could you please ", "hey, ", "will you ",
          "i want you to ", "ok, ", "go ahead and ", "would you mind to ", "now ", "hi, please "]
CLOSING = ["", "", "", "", " please", ", please", " now", " for me", ", thanks", " right now"]
QUESTIONS = ("could", "can", "would", "will", "what", "how", "which", "is ", "do ", "where", "who", "have you", "are")


def expand(pattern: str, slots: dict, rng: random.Random) -> str:
    """One sentence of a pattern: alternatives drawn, slots filled, framed, cased and punctuated."""
    alone = pattern.startswith("=")
    sentence = pattern.lstrip("=")
    sentence = re.sub(r"\[([^\]]*)\]", lambda match: rng.choice(match[1].split("|")), sentence)
    sentence = re.sub(r"<(\w+)>", lambda match: spoken(slots[match[1]], rng), sentence)
    if not alone:
        sentence = rng.choice(POLITE) + sentence + rng.choice(CLOSING)
    elif rng.random() < 0.15:
        sentence = rng.choice(["hey, ", "please, ", "ok, ", "so, "]) + sentence
    question = sentence.startswith(QUESTIONS)
    sentence += rng.choice(["", "?", "?"] if question else ["", "", ".", "."])
    return sentence[0].upper() + sentence[1:] if rng.random() < 0.6 else sentence


def spoken(value: object, rng: random.Random) -> str:
    """A slot as people say it: some numbers become words."""
    if value in NUMBER_WORDS and isinstance(value, int) and rng.random() < 0.4:
        return NUMBER_WORDS[value]
    return str(value)


def is_held_out(sentence: str) -> bool:
    """Whether a hash of the spoken words puts this sentence into the held-out twentieth, spoken or typed."""
    words = " ".join(transcript.spoken(sentence))
    return hashlib.sha256(words.encode()).digest()[0] % 20 == 0
