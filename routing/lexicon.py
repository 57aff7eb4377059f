# ruff: noqa: E501
"""Words that say what a question asks for, by concept, in the languages that people write to us.

A word counts as its concept wherever it stands; a stem (ending in `*`) covers its inflections. Chinese, Japanese, Korean and Thai do not
put spaces where we would need them, so their entries are looked for as substrings.
"""

_EN = {
    "who": "who whom whose",
    "what": "what whats wat",
    "when": "when",
    "where": "where",
    "which": "which",
    "why": "why",
    "how": "how",
    "aux": "is are was were do does did can could will would has have had should may might am isn't aren't doesn't didn't don't",
    "make": "write compose draft create generate craft invent brainstorm produce devise author pitch propose design formulate construct",
    "build": "implement code program debug refactor deploy build migrate optimise optimize configure automate integrate develop harden"
    " scrape train setup troubleshoot diagnose fix port containerize parse architect",
    "plan": "plan planning organise organize schedule prepare arrange roadmap itinerary book coordinate",
    "study": "analyse analyze compare contrast evaluate assess discuss examine investigate research critique argue justify explore interpret"
    " elaborate prove derive solve reason debate evaluate consider reflect predict forecast estimate audit critically brief deep dive",
    "explain": "explain describe teach introduce guide walk outline demonstrate illustrate tutorial elaborate clarify",
    "give": "list give provide recommend suggest find show offer share advise enumerate collect gather",
    "rework": "summarise summarize summary rewrite paraphrase proofread edit improve shorten polish revise simplify expand rephrase reword"
    " tldr condense restructure reorganize extend enhance",
    "small": "translate define spell convert calculate compute classify categorise categorize identify pronounce name capitalise capitalize"
    " correct round simplify synonym synonyms antonym antonyms rhyme rhymes plural definition meaning means mean called stand abbreviation",
    "tell": "tell say know remind",
    "role": "act pretend imagine roleplay role simulate suppose persona interviewer character",
    "document": "essay poem story article blog letter email e-mail mail speech song lyrics screenplay report proposal curriculum syllabus"
    " thesis paper review guide tutorial strategy budget campaign slogan newsletter manual whitepaper haiku sonnet limerick novel fanfic"
    " dialogue conversation script presentation lesson memo outline plan itinerary scene headline headings post tweet ad advertisement"
    " description biography resume cv template checklist workout menu recipes ideas quiz",
    "software": "code script function program app application website api class algorithm bot chatbot database server service module schema"
    " dashboard pipeline library framework endpoint backend frontend microservice microservices kubernetes docker cluster crud component"
    " compiler scraper plugin extension gui game tests unittest regex query sql python javascript typescript java rust golang c++ php html"
    " css react django linux bash git",
    "depth": "detailed detail details comprehensive thorough thoroughly in-depth sources citations cite references examples example pros cons"
    " advantages disadvantages impact impacts implications consequences causes effects significance trends strategies challenges future"
    " history influence relationship ethical factors benefits risks tips steps recommendations approach approaches principles perspectives"
    " methods ways reasons developments innovations arguments scenario scenarios trade-offs tradeoffs evidence theory theories issues",
    "opinion": "best should good better ideal optimal successful effective important recommend worth healthy ethical possible really",
    "compare": "vs versus difference differences differ compare compared comparison similarities similar both either neither same common"
    " than between alternatives",
    "rank": "older oldest younger youngest taller tallest larger largest bigger biggest longer longest smaller smallest higher highest"
    " lower more most fewer least first last earlier later newer closer farther best-selling",
    "fact": "capital population weather temperature time date price cost height tall age old birthday born died currency president mayor"
    " minister author director founder ceo language flag distance area speed length weight number year day month city country state"
    " river mountain anthem timezone zip phone address area code symbol formula element calories wife husband married",
    "fresh": "today now current currently latest tomorrow tonight weather price score recent recently yesterday news live upcoming forecast"
    " stock bitcoin btc exchange rate week weekend",
    "chat": "hi hello hey thanks thank bye goodbye joke lol ok okay sorry morning night welcome cheers sup yo yes no yeah nope great cool"
    " nice awesome haha wow please riddle",
    "bot": "you your yourself u ur",
    "me": "i my me mine i'm i've we our us",
    "must": "with including include must without using only based each every exactly such containing at-least ensure make sure consider"
    " provided given following specified requirements criteria constraints between per",
    "also": "also then additionally furthermore moreover plus afterwards finally next after",
    "refer": "it its they them their that this those these he she his her him there one ones above previous earlier same",
    "relative": "who which that whose whom where",
    "unit": "km kilometers kilometres miles mile kg kilos kilograms pounds lbs ounces oz grams cups liters litres ml pints gallons feet foot"
    " inches inch cm meters metres celsius fahrenheit euros euro dollars usd eur gbp yen percent hours minutes seconds days weeks",
    "maths": "integral derivative equation probability theorem proof matrix polynomial triangle circle average sum total remainder prime"
    " twice half ratio percentage many much each altogether left",
    "logic": "if suppose assume given therefore premise paradox hypothetical would could might possibly survive",
    "quantity": "many much long far often old big tall high deep fast heavy",
    "negation": "not no without never don't needn't",
}

# One line a language: concept, then its words and stems.
_OTHER = {
    "de": "who wer wem wen wessen|what was|when wann|where wo woher wohin|which welch*|why warum wieso weshalb|how wie"
    "|aux ist sind war hat haben kann gibt heißt|make schreib* verfass* erstell* entwirf entwerfe* generier* erfinde*|build programmier* implementier*"
    " debugge* refaktor*|plan plane planen|study vergleich* analysier* diskutier* bewert* untersuch* beweis* recherchier*|explain erklär* beschreib* erläuter*"
    "|rework fass zusammenfass* überarbeit* verbesser*|small übersetz* definier* bedeutet|document gedicht aufsatz geschichte brief bericht geschäftsplan"
    " businessplan lebenslauf bewerbung reiseplan gliederung|depth vorteile nachteile auswirkung* ausführlich* schritt* ursachen folgen unterschied*|chat hallo danke tschüss moin"
    "|compare sowohl oder als unterschied*|fact hauptstadt einwohner* wetter höhe alt geboren|fresh heute morgen aktuell*|me ich mein* wir unser*",
    "fr": "who qui|what que quoi quel quelle quels quelles|when quand|where où|why pourquoi|how comment combien|aux est sont est-ce|make écri* rédig* crée créer compose* imagine* génère* invente*"
    "|build programme programmer développe* implémente* débogue* déploie*|plan planifi* organis* prépare*|study compare* analys* discut* évalue* étudie* démontre* prouve*|explain expliqu* décri* détaille*"
    "|rework résume* réécri* corrige* reformule*|small tradui* défini* signifie|document poème essai histoire lettre rapport dissertation discours itinéraire|depth avantages inconvénients conséquences causes étapes"
    " détaillé* impact* différence*|chat bonjour salut merci coucou|fact capitale population météo hauteur âge né prix|fresh aujourd'hui demain actuel*|me je mon ma mes nous notre",
    "es": "who quién quien quiénes|what qué cuál cuáles|when cuándo cuando|where dónde donde|why porqué por-qué|how cómo cuánto cuántos cuántas|aux es son está fue hay"
    "|make escrib* redact* crea crear compón inventa* genera*|build programa* implementa* desarrolla* depura* despliega* construyo|plan planifi* organiza* prepara*|study compara* analiza* discut* evalúa* investiga* demuestra*"
    "|explain explic* describ* detalla*|rework resum* reescrib* corrig*|small traduc* defin* significa|document poema ensayo cuento carta informe discurso historia itinerario|depth ventajas desventajas consecuencias causas pasos detallad* impacto* diferencia*"
    "|chat hola gracias adiós buenas|fact capital población altura edad nació clima moneda|fresh hoy mañana actual*|me yo mi mis nosotros",
    "pt": "who quem|what que qual quais|when quando|where onde|why porquê|how como quanto quantos quantas|make escrev* redija crie criar componha gere invente|build programe implemente desenvolva depure|plan planej* organize prepare"
    "|study compare analise discuta avalie pesquise prove|explain expli* descreva|rework resum* reescreva corrija|small traduz* defina significa|document poema ensaio redação carta relatório história roteiro|depth vantagens desvantagens consequências"
    " causas passos detalhad* diferença*|chat olá obrigad* oi|fact capital população altura idade nasceu|fresh hoje amanhã|me eu meu minha nós",
    "it": "who chi|what che cosa quale quali|when quando|where dove|why perché perche|how come quanto quanti quante|make scrivi* componi crea inventa genera redigi|build programma implementa sviluppa|plan pianifica organizza prepara"
    "|study confronta analizza discuti valuta dimostra ricerca|explain spiega* descrivi*|rework riassumi* riscrivi correggi|small traduci definisci significa|document poesia saggio storia lettera relazione racconto itinerario|depth vantaggi svantaggi"
    " conseguenze cause passaggi dettagliat* differenz*|chat ciao grazie|fact capitale popolazione altezza età nato|fresh oggi domani|me io mio mia noi",
    "nl": "who wie|what wat|when wanneer|where waar|which welk*|why waarom|how hoe hoeveel|make schrijf* bedenk* maak ontwerp* stel|build programmeer* implementeer* bouw|plan plan plannen|study vergelijk* analyseer* bespreek* beoordeel* onderzoek* bewijs*"
    "|explain leg uitleg* beschrijf*|rework vat samenvat* herschrijf* verbeter*|small vertaal* definieer* betekent|document gedicht opstel verhaal brief verslag ondernemingsplan reisplan|depth voordelen nadelen gevolgen oorzaken stappen"
    " uitgebreid* verschil*|chat hallo bedankt dank doei|fact hoofdstad inwoners weer hoogte geboren|fresh vandaag morgen|me ik mijn wij onze",
    "sv": "who vem|what vad|when när|where var|which vilk*|why varför|how hur många|make skriv* skapa* komponera* hitta-på|build programmera* implementera* bygg*|plan planera*|study jämför* analysera* diskutera* utvärdera* undersök* bevisa*"
    "|explain förklara* beskriv*|rework sammanfatta* omarbeta* förbättra*|small översätt* definiera* betyder|document dikt uppsats berättelse brev rapport affärsplan resplan|depth fördelar nackdelar konsekvenser orsaker steg skillnad*"
    "|chat hej tack|fact huvudstad befolkning väder höjd född invånare|fresh idag imorgon|me jag min vi vår",
    "da": "who hvem|what hvad hva|when hvornår når|where hvor|which hvilke*|why hvorfor|how hvordan mange|make skriv* lav opret|build programmér* byg|plan planlæg* planlegg*|study sammenlign* analysér* analyser* diskutér* undersøg* bevis*|explain forklar* beskriv*"
    "|rework opsummer* omskriv*|small oversæt* oversett* betyder betyr|document digt dikt essay historie brev rapport|depth fordele ulemper fordeler konsekvenser årsager forskel*|chat hej hei tak takk|fact hovedstad befolkning indbyggere født|fresh dag",
    "fi": "who kuka kenen|what mikä mitä|when milloin koska|where missä mistä|which mikä kumpi|why miksi|how miten kuinka montako|make kirjoita* luo laadi* keksi*|build ohjelmoi* toteuta*|plan suunnittele*|study vertaa* vertaile* analysoi* pohdi* arvioi* todista*"
    "|explain selitä* kuvaile*|rework tiivistä* muokkaa*|small käännä* määrittele* tarkoittaa|document runo essee tarina kirje raportti suunnitelma|depth edut haitat seuraukset syyt vaiheet|chat hei moi kiitos|fact pääkaupunki väkiluku sää syntyi|fresh tänään",
    "pl": "who kto kim|what co jaki jaka jakie|when kiedy|where gdzie|which który która które|why dlaczego|how jak ile|make napisz* stwórz* ułóż* wymyśl* utwórz*|build zaprogramuj* zaimplementuj* zbuduj*|plan zaplanuj* zorganizuj*|study porównaj* przeanalizuj* omów* oceń* zbadaj* udowodnij*"
    "|explain wyjaśnij* opisz* wytłumacz*|rework streść* podsumuj* popraw* przeredaguj*|small przetłumacz* zdefiniuj* znaczy|document wiersz esej opowiadanie list raport biznesplan|depth zalety wady skutki przyczyny krok* różnic*|chat cześć dziękuję dzień|fact stolica ludność pogoda urodził*|fresh dziś jutro|me ja mój moja",
    "cs": "who kdo|what co jaký jaká jaké|when kdy|where kde|which který která které|why proč|how jak kolik|make napiš* vytvoř* vymysli* slož*|build naprogramuj* implementuj*|plan naplánuj*|study porovnej* analyzuj* diskutuj* zhodnoť* dokaž*|explain vysvětli* popiš*"
    "|rework shrň* přepiš* oprav*|small přelož* definuj* znamená|document báseň esej povídka dopis zpráva|depth výhody nevýhody důsledky příčiny|chat ahoj děkuji|fact hlavní počasí narodil*|fresh dnes",
    "tr": "who kim kimin|what ne nedir|when zaman|where nerede neresi|which hangi|why neden niçin|how nasıl kaç kadar|make yaz yazın yazar* oluştur* tasarla* hazırla*|build programla* uygula* geliştir* kodla*|plan planla*|study karşılaştır* analiz* tartış* değerlendir* araştır* kanıtla* ispatla*"
    "|explain açıkla* anlat* betimle*|rework özetle* düzelt*|small çevir* tanımla* demek|document şiir makale hikaye mektup rapor kompozisyon|depth avantaj* dezavantaj* sonuçları nedenleri adım* fark*|chat merhaba selam teşekkür*|fact başkenti nüfusu hava|fresh bugün yarın",
    "id": "who siapa|what apa apakah|when kapan|where mana dimana|why mengapa kenapa|how bagaimana berapa|make tulis* buat* buatkan rancang* susun*|build implementasi* kembangkan*|plan rencana*|study bandingkan* analisis* diskusikan* evaluasi* buktikan* teliti*|explain jelaskan* uraikan*"
    "|rework ringkas* rangkum* perbaiki*|small terjemahkan* definisi* artinya|document puisi esai cerita surat laporan|depth kelebihan kekurangan dampak penyebab langkah* perbedaan*|chat halo terima hai|fact ibukota ibu penduduk cuaca|fresh hari sekarang",
    "vi": "who ai|what gì nào|where đâu|why sao|how bao mấy|make viết soạn tạo|build lập-trình|plan kế-hoạch lên|study so-sánh phân-tích thảo-luận đánh-giá chứng-minh|explain giải-thích mô-tả|rework tóm-tắt|small dịch nghĩa|document thơ luận truyện thư|chat chào cảm-ơn|fact thủ-đô dân-số",
    "ru": "who кто кого кем чей|what что какой какая какое какие|when когда|where где куда откуда|why почему зачем|how как сколько|make напиши* сочини* создай* составь* придумай*|build запрограммируй* реализуй* разработай* отлад* напишите|plan спланируй* запланируй* организуй*"
    "|study сравни* проанализируй* обсуди* оцени* исследуй* докажи*|explain объясни* опиши* расскажи*|rework резюмируй* перепиши* исправь* сократи*|small переведи* определи* означает|document стихотворение эссе рассказ письмо отчёт отчет сочинение план бизнес-план"
    "|depth преимущества недостатки последствия причины подробн* пошагов* шаг* влияни* разниц*|chat привет спасибо здравствуй* пока|fact столица население погода родился высота курс|fresh сегодня завтра сейчас|me я мой моя мы наш*",
    "uk": "who хто|what що який яка яке|when коли|where де|why чому|how скільки|make напиши* створи* склади* придумай*|build реалізуй* розроби*|plan сплануй*|study порівняй* проаналізуй* обговори* оціни* доведи*|explain поясни* опиши* розкажи*|rework підсумуй* перепиши*"
    "|small переклади*|document вірш есе оповідання лист звіт|depth переваги недоліки наслідки причини|chat привіт дякую|fact столиця населення погода",
    "el": "who ποιος ποια|what τι ποιο|when πότε|where πού|why γιατί|how πώς πόσο πόσα πόσοι|make γράψε* δημιούργησε* σχεδίασε*|build υλοποίησε*|plan οργάνωσε*|study σύγκρινε* ανάλυσε* συζήτησε* απόδειξε*|explain εξήγησε* περίγραψε*|rework περίληψη*|small μετάφρασε*"
    "|document ποίημα έκθεση ιστορία επιστολή|depth πλεονεκτήματα μειονεκτήματα συνέπειες|chat γεια ευχαριστώ|fact πρωτεύουσα πληθυσμός",
    "ro": "who cine|what ce care|when când|where unde|why de-ce|how cum cât câți câte|make scrie* creează* compune*|build programează* implementează*|plan planifică*|study compară* analizează* discută* evaluează* demonstrează*|explain explică* descrie*|rework rezumă* rescrie*"
    "|small tradu* definește*|document poezie eseu povestire scrisoare|depth avantaje dezavantaje consecințe cauze|chat salut mulțumesc|fact capitala populația",
    "hu": "who ki|what mi milyen|when mikor|where hol|which melyik|why miért|how hogyan mennyi hány|make írj* készíts* alkoss*|build programozz*|plan tervezz*|study hasonlítsd elemezd* értékeld* bizonyítsd*|explain magyarázd* írd-le|rework foglald*|small fordítsd*|document vers esszé levél",
    "ar": "who من|what ما ماذا|when متى|where أين|which أي|why لماذا|how كيف كم|aux هل|make اكتب* أنشئ* ألف* صمم*|build برمج* نفذ* طور*|plan خطط* نظم*|study قارن* حلل* ناقش* قيم* أثبت* ابحث*|explain اشرح* صف*|rework لخص* أعد*|small ترجم* عرف* معنى"
    "|document قصيدة مقال* قصة رسالة تقرير خطة|depth مزايا عيوب أسباب آثار خطوات|chat مرحبا شكرا السلام|fact عاصمة سكان الطقس|fresh اليوم غدا",
    "he": "who מי|what מה|when מתי|where איפה היכן|which איזה איזו|why למה מדוע|how איך כמה|make כתוב* כתבי* צור* חבר*|build תכנת* ממש*|plan תכנן*|study השווה* נתח* דון* הערך* הוכח*|explain הסבר* תאר*|rework סכם*|small תרגם* הגדר*|document שיר מאמר סיפור מכתב|chat שלום תודה|fact בירת",
    "hi": "who कौन किसने|what क्या|when कब|where कहाँ कहां|which कौनसा|why क्यों|how कैसे कितने कितना कितनी|make लिखो लिखें लिखिए बनाओ बनाएं बनाइए|plan योजना|study तुलना विश्लेषण चर्चा मूल्यांकन सिद्ध|explain समझाओ समझाइए समझाएं वर्णन बताइए|rework सारांश|small अनुवाद अर्थ"
    "|document कविता निबंध कहानी पत्र|depth फायदे नुकसान कारण प्रभाव|chat नमस्ते धन्यवाद|fact राजधानी जनसंख्या मौसम",
    "fa": "who کی چه-کسی|what چیست چه|when کی|where کجا|why چرا|how چگونه چند چطور|make بنویس* بساز*|study مقایسه تحلیل|explain توضیح|rework خلاصه|small ترجمه|document شعر مقاله داستان نامه|chat سلام ممنون|fact پایتخت جمعیت",
}

# Substrings, for scripts without spaces (and Korean, whose endings stick to the word).
_UNSPACED = {
    "who": "谁 誰 누구 ใคร",
    "what": "什么 什麼 哪 何 なに 무엇 뭐 อะไร",
    "when": "何时 什么时候 いつ 언제 เมื่อไหร่ เมื่อใด",
    "where": "哪里 哪裡 在哪 どこ 어디 ที่ไหน",
    "which": "哪个 哪個 どれ どの どちら 어느 ไหน",
    "why": "为什么 為什麼 なぜ どうして 왜 ทำไม",
    "how": "怎么 如何 怎樣 多少 几 幾 どう いくつ どれくらい どのくらい 어떻게 얼마 몇 อย่างไร เท่าไหร่ กี่",
    "make": "写一 写个 写篇 撰写 创作 创建 编写 設計 设计 写出 書いて 作成し 作って 考えて 써줘 써 주 작성 만들어 쓰세요 เขียน สร้าง แต่ง ออกแบบ",
    "build": "实现 代码 编程 部署 调试 优化 実装 コード プログラム デバッグ 구현 코드 프로그램 배포 โค้ด โปรแกรม",
    "plan": "计划 計劃 规划 安排 方案 行程 計画 プラン 계획 일정 แผน",
    "study": "比较 比較 分析 讨论 討論 评估 证明 研究 論じ 議論 評価 証明 考察 調べて 비교 분석 논의 평가 증명 조사 เปรียบเทียบ วิเคราะห์ พิสูจน์ อภิปราย",
    "explain": "解释 解釋 说明 描述 介绍 説明し 述べて 教えてください 설명 묘사 อธิบาย บรรยาย",
    "rework": "总结 总结 改写 概括 润色 要約 まとめて 書き直 修正 요약 고쳐 다시 สรุป ปรับ",
    "small": "翻译 翻譯 意思 翻訳 訳して 意味 번역 뜻 แปล แปลว่า",
    "document": "诗 作文 文章 故事 论文 报告 信 小说 詩 エッセイ 物語 手紙 レポート メール 記事 시를 에세이 이야기 편지 보고서 บทความ เรียงความ กลอน นิทาน จดหมาย",
    "depth": "优缺点 影响 步骤 详细 原因 区别 利弊 关系 影響 メリット デメリット 手順 詳しく 違い 関係 理由 영향 장단점 단계 자세 차이 원인 ผลกระทบ ข้อดี ข้อเสีย ขั้นตอน",
    "chat": "你好 谢谢 再见 こんにちは ありがとう おはよう 안녕 고마 감사 สวัสดี ขอบคุณ",
    "fact": "首都 人口 天气 身高 出生 多高 高さ 天気 수도 인구 날씨 높이 เมืองหลวง ประชากร อากาศ",
    "fresh": "今天 现在 明天 今日 明日 오늘 내일 วันนี้ พรุ่งนี้",
}


def _by_word() -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Word → concepts and stem → concepts. English comes first, so that a foreign homograph does not change an English text."""
    words: dict[str, list[str]] = {}
    stems: dict[str, list[str]] = {}
    for concept, line in _EN.items():
        for word in line.split():
            words.setdefault(word, []).append(concept)
    english = frozenset(words)
    for line in _OTHER.values():
        for group in line.split("|"):
            concept, *entries = group.split()
            for entry in entries:
                stem = entry.removesuffix("*")
                if stem == entry and entry not in english:
                    words.setdefault(entry, []).append(concept)
                elif stem != entry:
                    stems.setdefault(stem, []).append(concept)
    return (
        {word: tuple(dict.fromkeys(concepts)) for word, concepts in words.items()},
        {stem: tuple(dict.fromkeys(concepts)) for stem, concepts in stems.items()},
    )


CONCEPTS = tuple(_EN)
WORDS, STEMS = _by_word()
UNSPACED = {entry: concept for concept, line in _UNSPACED.items() for entry in line.split()}
STEM_LENGTHS = tuple(sorted({len(stem) for stem in STEMS}, reverse=True))
