-- What all steps make of an empty file, so that a new database needs none of them.
-- tests/test_migrations.py tells whether it still is, and what it has to be.

PRAGMA application_id = 1718907490;

CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);

CREATE TABLE videos (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	path TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	width INTEGER NOT NULL, 
	height INTEGER NOT NULL, 
	fps FLOAT NOT NULL, 
	duration FLOAT NOT NULL, 
	is_image BOOLEAN NOT NULL, 
	frame_count INTEGER NOT NULL, 
	"end" FLOAT NOT NULL, 
	detector_id TEXT NOT NULL, 
	embedder_id TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	added_at TEXT NOT NULL, 
	timestamps BLOB NOT NULL, 
	shots BLOB NOT NULL, emotion_id TEXT, affect_derived BOOLEAN DEFAULT '1' NOT NULL, enrolled BOOLEAN DEFAULT '0' NOT NULL, 
	CONSTRAINT uq_videos_content_hash UNIQUE (content_hash)
);

CREATE TABLE identities (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT, ignored BOOLEAN DEFAULT '0' NOT NULL, 
	CONSTRAINT uq_identities_name UNIQUE (name)
);

CREATE TABLE tracks (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	video_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	shot INTEGER NOT NULL, 
	first_frame INTEGER NOT NULL, 
	end_frame INTEGER NOT NULL, 
	start FLOAT NOT NULL, 
	"end" FLOAT NOT NULL, 
	quality FLOAT NOT NULL, 
	size FLOAT NOT NULL, 
	identity_id INTEGER, 
	confidence FLOAT, 
	CONSTRAINT uq_tracks_video_id_number UNIQUE (video_id, number), 
	FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE, 
	FOREIGN KEY(identity_id) REFERENCES identities (id) ON DELETE SET NULL
);

CREATE INDEX ix_tracks_identity_id ON tracks (identity_id);

CREATE TABLE track_arrays (
	track_id INTEGER NOT NULL, 
	boxes BLOB NOT NULL, 
	scores BLOB NOT NULL, 
	sources BLOB NOT NULL, 
	landmarks BLOB NOT NULL, 
	PRIMARY KEY (track_id), 
	FOREIGN KEY(track_id) REFERENCES tracks (id) ON DELETE CASCADE
);

CREATE TABLE thumbnails (
	track_id INTEGER NOT NULL, 
	jpeg BLOB NOT NULL, 
	PRIMARY KEY (track_id), 
	FOREIGN KEY(track_id) REFERENCES tracks (id) ON DELETE CASCADE
);

CREATE TABLE embeddings (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	track_id INTEGER NOT NULL, 
	frame INTEGER NOT NULL, 
	quality FLOAT NOT NULL, 
	model_id TEXT NOT NULL, 
	vector BLOB NOT NULL, 
	FOREIGN KEY(track_id) REFERENCES tracks (id) ON DELETE CASCADE
);

CREATE INDEX ix_embeddings_track_id ON embeddings (track_id);

CREATE TRIGGER embeddings_insert AFTER INSERT ON embeddings BEGIN 
INSERT OR REPLACE INTO meta (key, value) VALUES ('embeddings_revision', '"' || lower(hex(randomblob(16))) || '"')
; END;

CREATE TRIGGER embeddings_update AFTER UPDATE ON embeddings BEGIN 
INSERT OR REPLACE INTO meta (key, value) VALUES ('embeddings_revision', '"' || lower(hex(randomblob(16))) || '"')
; END;

CREATE TRIGGER embeddings_delete AFTER DELETE ON embeddings BEGIN 
INSERT OR REPLACE INTO meta (key, value) VALUES ('embeddings_revision', '"' || lower(hex(randomblob(16))) || '"')
; END;

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE expressions (
	track_id INTEGER NOT NULL, 
	frame INTEGER NOT NULL, 
	time FLOAT NOT NULL, 
	model_id TEXT NOT NULL, 
	emotion TEXT, 
	angry FLOAT, 
	disgust FLOAT, 
	fear FLOAT, 
	happy FLOAT, 
	sad FLOAT, 
	surprise FLOAT, 
	neutral FLOAT, 
	valence FLOAT, 
	arousal FLOAT, 
	affect_source TEXT, 
	reason TEXT, 
	pose_pitch FLOAT, 
	pose_yaw FLOAT, 
	pose_roll FLOAT, 
	gaze_x FLOAT, 
	gaze_y FLOAT, 
	mouth_opening FLOAT, 
	eye_opening FLOAT, 
	PRIMARY KEY (track_id, frame), 
	FOREIGN KEY(track_id) REFERENCES tracks (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE TABLE emotion_curves (
	video_id INTEGER NOT NULL, 
	identity_id INTEGER NOT NULL, 
	time FLOAT NOT NULL, 
	seconds FLOAT NOT NULL, 
	model_id TEXT NOT NULL, 
	emotion TEXT, 
	angry FLOAT, 
	disgust FLOAT, 
	fear FLOAT, 
	happy FLOAT, 
	sad FLOAT, 
	surprise FLOAT, 
	neutral FLOAT, 
	valence FLOAT, 
	arousal FLOAT, 
	affect_source TEXT, 
	PRIMARY KEY (video_id, identity_id, time), 
	FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE, 
	FOREIGN KEY(identity_id) REFERENCES identities (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE INDEX ix_emotion_curves_identity_id ON emotion_curves (identity_id);

CREATE TABLE emotion_episodes (
	video_id INTEGER NOT NULL, 
	identity_id INTEGER NOT NULL, 
	onset FLOAT NOT NULL, 
	apex FLOAT NOT NULL, 
	"offset" FLOAT NOT NULL, 
	emotion TEXT NOT NULL, 
	mean FLOAT NOT NULL, 
	peak FLOAT NOT NULL, 
	model_id TEXT NOT NULL, 
	PRIMARY KEY (video_id, identity_id, onset), 
	FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE, 
	FOREIGN KEY(identity_id) REFERENCES identities (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE INDEX ix_emotion_episodes_identity_id ON emotion_episodes (identity_id);

CREATE TABLE emotion_summaries (
	video_id INTEGER NOT NULL, 
	identity_id INTEGER NOT NULL, 
	seconds FLOAT NOT NULL, 
	angry FLOAT, 
	disgust FLOAT, 
	fear FLOAT, 
	happy FLOAT, 
	sad FLOAT, 
	surprise FLOAT, 
	neutral FLOAT, 
	mean_valence FLOAT, 
	mean_arousal FLOAT, 
	affect_source TEXT NOT NULL, 
	model_id TEXT NOT NULL, 
	PRIMARY KEY (video_id, identity_id), 
	FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE, 
	FOREIGN KEY(identity_id) REFERENCES identities (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE INDEX ix_emotion_summaries_identity_id ON emotion_summaries (identity_id);

CREATE TABLE emotion_transitions (
	video_id INTEGER NOT NULL, 
	identity_id INTEGER NOT NULL, 
	"before" TEXT NOT NULL, 
	"after" TEXT NOT NULL, 
	count INTEGER NOT NULL, 
	PRIMARY KEY (video_id, identity_id, "before", "after"), 
	FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE, 
	FOREIGN KEY(identity_id) REFERENCES identities (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE INDEX ix_emotion_transitions_identity_id ON emotion_transitions (identity_id);

CREATE TABLE corrections (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	identities TEXT NOT NULL, 
	pins TEXT NOT NULL, 
	bans TEXT NOT NULL, 
	name TEXT, 
	reason TEXT, 
	moved TEXT NOT NULL, 
	created TEXT NOT NULL, 
	undone_by INTEGER, confidences TEXT DEFAULT '{}' NOT NULL, 
	FOREIGN KEY(undone_by) REFERENCES corrections (id)
);

CREATE VIEW appearances AS
WITH seen AS (
    SELECT tracks.identity_id, tracks.video_id, tracks.start, tracks."end",
        MAX(tracks."end") OVER (
            PARTITION BY tracks.identity_id, tracks.video_id ORDER BY tracks.start, tracks."end"
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM tracks JOIN identities ON identities.id = tracks.identity_id JOIN videos ON videos.id = tracks.video_id
    WHERE NOT identities.ignored AND NOT videos.enrolled
), counted AS (
    SELECT *, SUM(reached IS NULL OR start > reached + 0.5) OVER (
        PARTITION BY identity_id, video_id ORDER BY start, "end" ROWS UNBOUNDED PRECEDING
    ) AS number
    FROM seen
)
SELECT counted.identity_id AS identity_id, COALESCE(identities.name, 'Person ' || identities.id) AS person,
    counted.video_id AS video_id, videos.path AS video,
    MIN(counted.start) AS start, MAX(counted."end") AS "end", COUNT(*) AS tracks
FROM counted JOIN identities ON identities.id = counted.identity_id JOIN videos ON videos.id = counted.video_id
GROUP BY counted.identity_id, counted.video_id, counted.number;

CREATE TABLE absent_tracks (
	track_id INTEGER NOT NULL, 
	video_id INTEGER NOT NULL, 
	content_hash TEXT NOT NULL, 
	first_frame INTEGER NOT NULL, 
	boxes BLOB NOT NULL, 
	identity_id INTEGER, 
	PRIMARY KEY (track_id)
);

CREATE TABLE jobs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	path TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	state TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	started_at TEXT, 
	finished_at TEXT, 
	frames_done INTEGER NOT NULL, 
	frames_total INTEGER, 
	message TEXT, 
	video_id INTEGER, 
	attempts INTEGER NOT NULL, 
	crashes INTEGER NOT NULL, 
	worker TEXT, 
	lease FLOAT, 
	revision INTEGER NOT NULL, 
	FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE SET NULL
);

CREATE INDEX ix_jobs_content_hash ON jobs (content_hash);

CREATE INDEX ix_jobs_state ON jobs (state);

CREATE INDEX ix_jobs_video_id ON jobs (video_id);

CREATE UNIQUE INDEX ix_jobs_revision ON jobs (revision);

INSERT INTO alembic_version VALUES ('0005');

INSERT INTO meta VALUES ('embeddings_revision', '"' || lower(hex(randomblob(16))) || '"');

INSERT INTO meta VALUES ('revision', '"' || lower(hex(randomblob(16))) || '"');
