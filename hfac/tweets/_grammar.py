"""The shipped corpus: a small grammar of everyday tweets, sad to happy, in the project's own words."""

import random
import re

NUM_TWEETS = 3_000
MOODS = {"happy": 7, "plain": 6, "sad": 6, "mixed": 2}  # how often

_SLOT = re.compile(r"\{(\w+)\}")

RULES: dict[str, tuple[str, ...]] = {
    "happy": (
        "{open}{good_news}{good_end}", "{open}{good_news}, {good_feeling}{good_end}",
        "{good_feeling} because {good_news}{good_end}", "{open}{thanks} for {good_thing}{good_end}",
        "{who} made {good_thing} for us and {good_feeling}{good_end}",
        "{open}{activity} with {who} {time}, {good_feeling}{good_end}",
        "what a {very} {good_word} {day_part}{good_end}", "{open}{thing} is {very} {good_word}{good_end}",
        "i {love_verb} {good_thing} and i {love_verb} {thing}{good_end}", "{wish} {who}{good_end}",
        "{activity} at {place} {time} is {very} {good_word}{good_end}",
        "{open}found {good_thing} at {place}{good_end}",
        "{event} was {very} {good_word}, {good_feeling}{good_end}",
        "{open}{errand} with {who} was {good_word}{good_end}",
        "{who} and {who} brought {good_thing} to {event}{good_end}",
        "{number} {unit} until {event}, {good_feeling}{good_end}",
        "after {errand} {who} gave me {good_thing}{good_end}",
        "{thing}, {good_thing} and {activity}: {good_feeling}{good_end}",
        "{good_feeling} and {good_feeling}{good_end}",
        "{who} is {good_word} and {good_word}, {good_news}{good_end}",
    ),
    "plain": (
        "{open}{activity} {time}.", "{open}{activity} with {who} {time}.", "anyone know when {place} opens {time}?",
        "{who} says {thing} is at {place} now.", "on the way to {place}, {errand} first.",
        "{errand}, then {activity}.", "{number} {unit} until {event}.", "{open}{event} moved to {place} {time}.",
        "who else is {activity} {time}?", "reading about {thing} while {activity}.",
        "{thing} or {thing}? asking for {who}.", "{open}still {activity}, back {time}.",
    ),
    "sad": (
        "{open}{bad_news}{bad_end}", "{open}{bad_news}, {bad_feeling}{bad_end}",
        "{bad_feeling} because {bad_news}{bad_end}", "no {good_thing} {time}, {bad_news}{bad_end}",
        "{open}{thing} is {very} {bad_word}{bad_end}", "what a {very} {bad_word} {day_part}{bad_end}",
        "{who} forgot {event} and {bad_feeling}{bad_end}",
        "i {hate_verb} {bad_thing} and i {hate_verb} {activity} {time}{bad_end}",
        "{activity} alone {time}, {bad_feeling}{bad_end}", "sorry {who}, {bad_news}{bad_end}",
    ),
    "mixed": (
        "{bad_news} but {good_feeling}{good_end}", "{good_news} but {bad_feeling}{bad_end}",
        "{thing} was {bad_word}, but {who} was {good_word}.", "not a {good_word} {day_part}, but {good_news}.",
        "{event} was {good_word} but now {bad_feeling}.",
    ),
    "open": (
        "", "", "", "ok so ", "well, ", "today ", "so ", "hey {who}, ", "just in: ", "update: ", "honestly, ", "fyi ",
    ),
    "who": (
        "@mira", "@jonas", "@the_bakery", "@night_bus", "my sister", "my brother", "the neighbour", "our team",
        "the new guy", "grandma", "my best friend", "the whole class", "mum", "dad", "the kids", "everyone here",
        "my old teacher", "the cat", "the dog next door", "a stranger",
    ),
    "time": (
        "today", "tonight", "this morning", "after work", "before lunch", "all weekend", "on monday", "on friday",
        "again", "since noon", "until midnight", "tomorrow", "this week", "at last", "for an hour",
    ),
    "day_part": (
        "day", "morning", "evening", "week", "weekend", "trip", "meeting", "lesson", "concert", "night", "ride",
    ),
    "place": (
        "the library", "the park", "the station", "the corner shop", "the lake", "the office", "the market",
        "the museum", "the gym", "the old bridge", "room 12", "the harbour", "the cinema", "the post office",
    ),
    "event": (
        "the exam", "the match", "the party", "the concert", "my birthday", "the interview", "the wedding",
        "the first class", "the big move", "the dinner", "the train", "the book club", "the picnic",
    ),
    "errand": (
        "buying bread", "picking up a parcel", "returning two books", "fixing the bike", "walking the dog",
        "printing the tickets", "watering the plants", "calling the bank", "charging my phone", "finding my keys",
    ),
    "activity": (
        "cooking soup", "watching the game", "learning guitar", "cleaning the kitchen", "painting the fence",
        "writing code", "playing chess", "running by the river", "baking bread", "waiting for the bus",
        "drawing maps", "studying for the test", "listening to the radio", "packing boxes", "knitting a scarf",
        "looking at the stars",
    ),
    "number": ("2", "3", "5", "ten", "a few", "too many", "only two"),
    "unit": ("days", "hours", "weeks", "sleeps", "stops", "pages"),
    "thing": (
        "the new album", "my coffee", "this show", "the weather", "the garden", "that book", "the last episode",
        "my phone", "the pizza", "this song", "the view", "the snow", "the ferry", "my homework", "the tea",
        "the map",
    ),
    "good_thing": (
        "fresh pancakes", "a warm welcome", "the lovely flowers", "free tickets", "a kind note", "chocolate cake",
        "a great playlist", "sunny walks", "good company", "a funny story", "the best seats", "a long hug",
        "a clever gift", "hot cocoa", "a perfect cup of tea",
        "ripe cherries", "a brave and honest answer", "a treasure",
        "a shiny medal", "homemade lemonade", "a gentle breeze", "the first prize", "an honest compliment",
        "a charming postcard", "a glorious sunrise", "a generous discount",
        "clear skies", "a joyful parade", "a sweet melon",
        "heavenly cookies", "a festive dinner", "a peaceful corner", "a superb view", "an adorable kitten",
    ),
    "good_news": (
        "we won the match", "i passed the exam", "the sun is shining", "she said yes",
        "my plant has a beautiful flower", "they saved us a seat", "the bus was on time and the driver was friendly",
        "i got the job", "school is free {time}", "{who} sent a lovely card", "the puppy is healthy",
        "we can celebrate {time}", "the soup was delicious", "the band played our favorite song",
        "i finally fixed the bike, success", "{who} helped me and it was easy", "the garden is a paradise",
        "our plan was accepted with applause", "{who} is safe at home {time}", "i ran my best time at {place}",
        "the baby smiled at {who}", "my painting won a prize at {place}", "{place} has a new roof, bravo",
        "{who} gave me a hug at {place}", "{event} was a triumph", "the doctor says {who} is strong and healthy",
        "we found a beautiful home near {place}", "my story made {who} laugh", "{who} is our hero",
        "the team is full of confidence", "{who} and {who} are friends again, peace",
    ),
    "good_feeling": (
        "i am so happy", "i feel great", "i could hug {who}", "we laughed for an hour", "i am proud of {who}",
        "it was fun", "i can not stop smiling", "life is good", "i am excited", "i feel calm and grateful",
        "everyone was cheerful", "that is awesome", "i am in love with {thing}", "this is a win",
        "my heart is full of joy", "i am glad that {who} came", "the mood at {place} is bright", "i am thrilled",
        "we are the luckiest team", "it was worth it", "i am thankful for {who}", "that made my {day_part} special",
        "i am impressed by {who}", "we sang cheerful songs all the way to {place}", "hope is back", "i trust {who}",
        "i feel blessed and inspired", "i am delighted by {thing}",
        "i am relaxed and optimistic", "it was pure pleasure",
        "i admire {who}", "i feel so lucky {time}", "we had a festive {day_part}", "{who} is a darling",
    ),
    "good_word": (
        "good", "great", "lovely", "nice", "beautiful", "brilliant", "fun", "wonderful", "sweet", "amazing",
        "perfect", "cool", "pretty", "funny", "fantastic",
        "charming", "delightful", "peaceful", "exciting", "splendid",
        "superb", "marvelous", "excellent", "terrific", "fabulous", "glorious", "adorable", "heavenly", "clever",
    ),
    "good_end": (
        ".", "!", "!!", " :)", " :d", "! thank you", " <3", ", yay", "...", "!", ". love it", " haha", ".", ".",
        "! see you at {place}", ". more {time}", ", respect", ", wow", ". so grateful", ". good times",
    ),
    "bad_thing": (
        "delays", "cold coffee", "dirty dishes", "empty fridges", "broken screens", "long queues", "rude emails",
        "lost keys", "flat tyres", "this noise", "bad news", "monday meetings",
    ),
    "bad_news": (
        "we lost the match", "i failed the test", "it has been raining {time}", "my phone is broken",
        "the bus is late", "the concert is cancelled", "i missed {event}", "someone stole my bike", "my head hurts",
        "the wifi died", "{who} is sick", "the shop is closed and i am hungry", "i spilled {thing}",
        "they lost my parcel", "the boss was angry {time}", "no one came to {event}",
    ),
    "bad_feeling": (
        "i am so tired", "i feel terrible", "i want to cry", "i am worried about {who}", "it was boring",
        "i feel alone", "i am sick of {bad_thing}", "this is awful", "i am sad", "nobody cares", "i miss {who}",
        "it makes me angry", "everything hurts", "i regret {activity}",
    ),
    "bad_word": (
        "bad", "sad", "awful", "boring", "terrible", "ugly", "annoying", "lonely", "horrible", "poor", "scary",
        "dull", "stressful", "weird",
    ),
    "bad_end": (".", "...", "!", " :(", ".", ". ugh", ". why?", ". help", " :/", ". not again"),
    "very": ("very", "so", "really", "pretty", "rather", "quite", "too"),
    "love_verb": ("love", "like", "enjoy", "adore"),
    "hate_verb": ("hate", "dislike", "can not stand", "fear"),
    "thanks": ("thanks {who}", "thank you {who}", "big thanks to {who}", "cheers {who}"),
    "wish": (
        "happy birthday", "good luck", "congrats", "welcome back", "well done", "sweet dreams", "enjoy {event}",
        "have fun at {place}", "great job", "safe trip",
    ),
}  # fmt: skip


def corpus(count: int = NUM_TWEETS, seed: int = 0) -> list[str]:
    """Tweets of the grammar, no two alike.

    Args:
      count: of tweets.
      seed: of the draws.
    """
    draws = random.Random(seed)
    tweets: dict[str, None] = {}
    while len(tweets) < count:
        tweets[_expand(draws.choices(list(MOODS), list(MOODS.values()))[0], draws)] = None
    return list(tweets)


def _expand(symbol: str, draws: random.Random) -> str:
    return _SLOT.sub(lambda slot: _expand(slot[1], draws), draws.choice(RULES[symbol]))
